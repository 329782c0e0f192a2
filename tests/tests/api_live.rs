//! The socket of a session: every event once and in order, from any number on, until the end.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use jobshop_tests::{TestApp, app::TOKEN, wait};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(15);
const FAN: &str = "
version: 1
name: fan
tasks:
  wide:
    for_each: [1, 2, 3, 4, 5, 6, 7, 8]
    tasks:
      a: { uses: builtin/noop }
      b: { needs: [a], uses: builtin/noop }
";

async fn connect(
    app: &TestApp,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, u16> {
    let url = format!("{}{path}", app.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Err(Error::Http(refusal)) => Err(refusal.status().as_u16()),
        connected => Ok(connected.unwrap().0),
    }
}

async fn open(app: &TestApp, id: &str, after: usize) -> Socket {
    let bearer = format!("Bearer {TOKEN}");
    let path = format!("/ws/sessions/{id}?after={after}");
    connect(app, &path, &[("authorization", &bearer)]).await.unwrap()
}

/// The next event, or the frame with which the server closes.
async fn next(socket: &mut Socket) -> Result<Value, CloseFrame> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message in time").unwrap().unwrap() {
            Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
            Message::Close(close) => return Err(close.expect("a reason to close")),
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
        }
    }
}

async fn rest(socket: &mut Socket) -> (Vec<Value>, CloseFrame) {
    let mut events = Vec::new();
    loop {
        match next(socket).await {
            Ok(event) => events.push(event),
            Err(close) => return (events, close),
        }
    }
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_while_the_session_runs() {
    let mut app = TestApp::new().await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let mut socket = open(&app, &id, 0).await;
    assert_eq!(next(&mut socket).await.unwrap()["kind"], "session.queued");
    app.start();
    let (events, close) = rest(&mut socket).await;
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (2..=events.len() as u64 + 1).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["kind"], "session.completed");
    assert_eq!(close.code, CloseCode::Normal);
    let reason: Value = serde_json::from_str(&close.reason).unwrap();
    assert_eq!(reason, json!({"code": "complete", "after": events.len() + 1}));

    let listed = app.get(&format!("/api/v1/sessions/{id}/events?after=1&limit=1000")).await.json;
    assert_eq!(listed["items"], Value::Array(events.clone()), "the list says the same");
    let done = events.iter().filter(|event| event["kind"] == "task.completed");
    let mut keys: Vec<&str> = done.map(|event| event["task"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.contains(&"wide[7].b"), "{keys:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_feed_goes_on_after_a_cancel_until_everything_has_ended() {
    let mut app = TestApp::new().await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let mut socket = open(&app, &id, 0).await;
    app.post(&format!("/api/v1/sessions/{id}/cancel"), &json!({})).await;
    assert_eq!(next(&mut socket).await.unwrap()["kind"], "session.queued");
    assert_eq!(next(&mut socket).await.unwrap()["kind"], "session.cancelled");
    // Nothing sweeps the tasks yet: a second look finds no event, and must not be the last.
    wait::until("a look that finds nothing", wait::LIMIT, async || {
        let nothing = timeout(Duration::from_millis(1_500), socket.next()).await;
        nothing.is_err().then_some(())
    })
    .await;
    app.start();
    let (events, close) = rest(&mut socket).await;
    assert_eq!(events.last().unwrap()["kind"], "task.cancelled");
    assert_eq!(close.code, CloseCode::Normal);
    let listed = app.get(&format!("/api/v1/sessions/{id}/events?after=2&limit=1000")).await.json;
    assert_eq!(listed["items"], Value::Array(events));
    app.stop().await;
}

#[tokio::test]
async fn a_feed_is_resumed_from_any_event() {
    let mut app = TestApp::new().await;
    app.start();
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    app.until_status(&id, "completed").await;
    let (all, _) = rest(&mut open(&app, &id, 0).await).await;
    for after in [1, 7, all.len() - 1, all.len(), all.len() + 5] {
        let (some, close) = rest(&mut open(&app, &id, after).await).await;
        assert_eq!(some, all.get(after..).unwrap_or_default());
        assert_eq!(close.code, CloseCode::Normal);
    }
    let pages = async |limit: usize| {
        let mut events = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let path = format!("/api/v1/sessions/{id}/events?after={after}&limit={limit}");
            let page = app.get(&path).await.json;
            events.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { return events };
            next.clone_into(&mut after);
        }
    };
    assert_eq!(pages(3).await, all);
    app.stop().await;
}

#[tokio::test]
async fn who_may_open_a_socket() {
    let app = TestApp::new().await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let path = format!("/ws/sessions/{id}");
    let with_token = format!("{path}?token={TOKEN}");
    let own = app.url.clone();
    assert_eq!(connect(&app, &path, &[]).await.unwrap_err(), 401);
    assert_eq!(connect(&app, &format!("{path}?token=x"), &[]).await.unwrap_err(), 401);
    assert!(connect(&app, &with_token, &[]).await.is_ok());
    assert!(connect(&app, &with_token, &[("origin", &own)]).await.is_ok());
    let negative = format!("{with_token}&after=-1");
    assert_eq!(connect(&app, &negative, &[]).await.unwrap_err(), 400);
    let strange = [("origin", "http://evil.example")];
    assert_eq!(connect(&app, &with_token, &strange).await.unwrap_err(), 403);
    let unknown = format!("/ws/sessions/abcdef0123?token={TOKEN}");
    assert_eq!(connect(&app, &unknown, &[]).await.unwrap_err(), 404);
}

#[tokio::test]
async fn a_revoked_key_closes_the_sockets_that_it_opened() {
    let app = TestApp::new().await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let made = app.post("/api/v1/keys", &json!({ "name": "v", "role": "viewer" })).await.json;
    let path = format!("/ws/sessions/{id}?token={}", made["key"].as_str().unwrap());
    let mut own = open(&app, &id, 0).await;
    let mut socket = connect(&app, &path, &[]).await.unwrap();
    for socket in [&mut own, &mut socket] {
        assert_eq!(next(socket).await.unwrap()["kind"], "session.queued");
    }
    app.post("/api/v1/keys/v/revoke", &json!({})).await;
    let (events, close) = rest(&mut socket).await;
    assert_eq!((events.len(), close.code), (0, CloseCode::Policy));
    assert_eq!(close.reason.as_str(), r#"{"code":"revoked","after":1}"#);
    assert_eq!(connect(&app, &path, &[]).await.unwrap_err(), 401);
    // Everybody else's stay open.
    app.post(&format!("/api/v1/sessions/{id}/cancel"), &json!({})).await;
    assert_eq!(next(&mut own).await.unwrap()["kind"], "session.cancelled");
}

#[tokio::test]
async fn a_socket_is_told_when_the_server_stops_and_where_to_go_on() {
    let app = TestApp::new().await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let mut socket = open(&app, &id, 0).await;
    next(&mut socket).await.unwrap();
    socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    let ((), (_, close)) = tokio::join!(app.stop(), rest(&mut socket));
    assert_eq!(close.code, CloseCode::Away);
    assert_eq!(close.reason.as_str(), r#"{"code":"stopping","after":1}"#);
}

/// More than the buffers between server and client hold.
async fn add_large_events(app: &TestApp, id: &str) -> usize {
    let id: uuid::Uuid = id.parse().unwrap();
    sqlx::query(
        "insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                             attempts, ats, bodies)
         select p.tenant_id, p.session_id, 2 + 100 * n, 101 + 100 * n, clock(),
                array_fill(22::smallint, array[100]), array_fill(1, array[100]),
                array_fill(1, array[100]), array_fill(clock(), array[100]),
                array_fill(jsonb_build_object('text', repeat('x', 2000)), array[100])
           from session_progress p cross join generate_series(0, 199) as n
          where p.session_id = $1",
    )
    .bind(id)
    .execute(app.db.pool())
    .await
    .unwrap();
    20_001
}

#[tokio::test]
async fn a_slow_reader_is_dropped_with_its_place_and_goes_on_from_there() {
    let app = TestApp::with(|app| jobshop_api::App {
        slow_reader_after: Duration::from_millis(300),
        ..app
    })
    .await;
    let id = app.submit(FAN).await["id"].as_str().unwrap().to_owned();
    let last = add_large_events(&app, &id).await;
    let mut socket = open(&app, &id, 0).await;
    wait::until("the reader is too slow", PATIENCE, async || {
        let metrics = app.get("/metrics").await.text;
        metrics.contains(r#"jobshop_sockets_closed_total{reason="slow_reader"} 1"#).then_some(())
    })
    .await;
    let (events, close) = rest(&mut socket).await;
    let seen = events.len();
    assert!(0 < seen && seen < last, "{seen} of {last}");
    assert_eq!(close.code, CloseCode::Again);
    assert_eq!(close.reason.as_str(), format!(r#"{{"code":"slow_reader","after":{seen}}}"#));

    let mut socket = open(&app, &id, seen).await;
    for seq in seen + 1..=last {
        assert_eq!(next(&mut socket).await.unwrap()["seq"], seq);
    }
}
