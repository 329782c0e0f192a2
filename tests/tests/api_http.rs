//! What holds for every request: who may come in, how a refusal looks, health, metrics and the
//! description.

use jobshop_api::Listen;
use jobshop_engine::store::{Store, StoreConfig};
use jobshop_tests::{Answer, TestApp, app::TOKEN};
use reqwest::{Method, header};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn only_the_bearer_of_the_token_comes_in() {
    let app = TestApp::new().await;
    for path in ["/api/v1/sessions", "/metrics", "/openapi.json", "/docs/", "/nowhere"] {
        let bare = Answer::of(app.bare_request(Method::GET, path)).await;
        bare.problem(401, "unauthorized");
        assert_eq!(bare.headers["www-authenticate"], "Bearer");
        for token in ["", "wrong", &TOKEN[1..], &format!("{TOKEN}x")] {
            let wrong = app.bare_request(Method::GET, path).bearer_auth(token);
            Answer::of(wrong).await.problem(401, "unauthorized");
        }
    }
    let parameter = format!("/api/v1/sessions?token={TOKEN}");
    Answer::of(app.bare_request(Method::GET, &parameter)).await.problem(401, "unauthorized");
    for path in ["/health", "/live", "/ready"] {
        let open = Answer::of(app.bare_request(Method::GET, path)).await;
        assert_eq!((open.status.as_u16(), &open.json["status"]), (200, &json!("ok")));
    }
}

#[tokio::test]
async fn the_viewer_of_the_description_opens_with_the_token_and_needs_nothing_from_elsewhere() {
    let app = TestApp::new().await;
    let browser =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let visit = async |path: &str, cookie: &str| {
        let request = browser.get(format!("{}{path}", app.url)).header(header::COOKIE, cookie);
        Answer::of(request).await
    };
    let entered = visit(&format!("/docs?token={TOKEN}"), "").await;
    assert_eq!(
        (entered.status.as_u16(), &entered.headers["location"]),
        (303, &"/docs/".parse().unwrap())
    );
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let page = visit("/docs/", cookie).await.text;
    assert!(page.contains("swagger-ui") && !page.contains("https://"), "{page}");
    assert_eq!(visit("/docs/swagger-ui-bundle.js", cookie).await.status, 200);
    assert_eq!(visit("/openapi.json", cookie).await.status, 200);
    visit("/docs?token=wrong", "").await.problem(401, "unauthorized");
    visit("/docs/", "jobshop_docs=wrong").await.problem(401, "unauthorized");
    // The cookie is good for nothing else.
    visit("/api/v1/sessions", cookie).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let app = TestApp::new().await;
    app.get("/api/v1/nowhere").await.problem(404, "not_found");
    let wrong = app.post("/api/v1/agents", &json!({})).await;
    wrong.problem(405, "method_not_allowed");
    assert_eq!(wrong.headers["allow"], "GET,HEAD");
    let post = || app.request(Method::POST, "/api/v1/sessions");
    Answer::of(post().body("{}")).await.problem(415, "not_json");
    let json =
        |text: &str| post().header(header::CONTENT_TYPE, "application/json").body(text.to_owned());
    Answer::of(json("{")).await.problem(400, "invalid_body");
    Answer::of(json("[]")).await.problem(400, "invalid_body");
    let wrong = Answer::of(json(r#"{"prompt": 7}"#)).await;
    assert!(wrong.problem(400, "invalid_body").contains("prompt"), "{}", wrong.text);
    let large = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(2 * 1024 * 1024));
    Answer::of(json(&large)).await.problem(413, "body_too_large");
    app.get("/api/v1/workflows/x/versions/one").await.problem(400, "invalid_path");
    app.get("/ws/sessions/abcdef").await.problem(400, "not_a_socket");
    let id = app.get("/live").await.headers["x-request-id"].clone();
    assert!(!id.is_empty());
}

#[tokio::test]
async fn what_cannot_be_named_is_refused_by_the_name_of_its_place() {
    let app = TestApp::new().await;
    let session = app.submit("version: 1\nname: m\ntasks: { a: { uses: builtin/noop } }\n").await;
    let id = session["id"].as_str().unwrap();
    for path in ["/api/v1/sessions/@latest:a%00b", "/api/v1/workflows/a%00", "/a%00"] {
        app.get(path).await.problem(400, "invalid_path");
    }
    app.get(&format!("/api/v1/sessions/{id}/tasks/%00")).await.problem(400, "invalid_path");
    let told = app.get("/api/v1/sessions?limit=1&tag=a%00").await;
    assert_eq!(told.problem(400, "invalid_query"), "tag: holds a NUL");
    let told = app.get(&format!("/api/v1/sessions/{id}/events?after=-1")).await;
    assert_eq!(told.problem(400, "invalid_query"), "after: -1 is below 0");
}

#[tokio::test]
async fn without_its_database_a_server_lives_but_is_not_ready() {
    let app = TestApp::with(|app| {
        let nowhere = StoreConfig::new("postgres://nobody@127.0.0.1:1/none");
        jobshop_api::App { store: Store::new(nowhere).unwrap(), ..app }
    })
    .await;
    assert_eq!(app.get("/live").await.status, 200);
    app.get("/ready").await.problem(503, "not_ready");
    let health = app.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json["status"]), (200, &json!("degraded")));
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_unless_it_is_meant() {
    let store = Store::new(StoreConfig::new("postgres://nobody@127.0.0.1:1/none")).unwrap();
    let app = jobshop_api::App::new(store, TOKEN.into());
    let listener = || TcpListener::bind("0.0.0.0:0");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let refused = jobshop_api::serve(listener().await.unwrap(), app.clone(), stopped.clone()).await;
    assert!(refused.unwrap_err().to_string().contains("reached by others"));
    let meant = jobshop_api::App { listen: Listen::Anywhere, ..app };
    jobshop_api::serve(listener().await.unwrap(), meant, stopped).await.unwrap();
}

#[tokio::test]
async fn metrics_count_requests_sessions_routes_and_agents() {
    let app = TestApp::new().await;
    app.submit("version: 1\nname: m\ntasks:\n  a: { requires: [rust, gpu], uses: builtin/noop }\n")
        .await;
    let metrics = app.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        r#"jobshop_sessions{tenant="default",status="queued"} 1"#,
        r#"jobshop_sessions{tenant="default",status="failed"} 0"#,
        r#"jobshop_ready_tasks{tenant="default",requires="gpu,rust"} 1"#,
        r#"jobshop_open_approvals{tenant="default"} 0"#,
        "jobshop_agents 0",
        r#"jobshop_http_requests_total{method="POST",route="/api/v1/sessions",status="201"} 1"#,
    ] {
        assert!(metrics.text.lines().any(|it| it == line), "{line} is not in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn live_workers_are_listed_as_agents() {
    let mut app = TestApp::new().await;
    assert_eq!(app.get("/api/v1/agents").await.json, json!({"items": [], "next": null}));
    app.start();
    let agent =
        jobshop_tests::wait::until("an agent", std::time::Duration::from_secs(10), async || {
            app.get("/api/v1/agents").await.json["items"].get(0).cloned()
        })
        .await;
    assert_eq!(agent["name"], "worker-1");
    assert_eq!((&agent["type"], &agent["capabilities"]), (&json!("implementer"), &json!(["*"])));
    app.stop().await;
}

#[test]
fn the_description_is_as_it_was_agreed() {
    let mut openapi = serde_json::to_value(jobshop_api::openapi()).unwrap();
    assert_eq!(openapi["openapi"], "3.1.0");
    openapi["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!("openapi", openapi);
}
