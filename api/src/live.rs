//! The live events of one session: every event once and in order, from the number the client asks
//! for, until the session has ended. Events are read from the database as fast as the client takes
//! them and never gathered, so a slow client costs no memory; one that takes nothing for a while is
//! dropped with the number it can resume from.

use std::time::Duration;

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, header},
    response::Response,
};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use jobshop_engine::{
    id::SessionKey,
    store::{Hint, view::ReadError},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::broadcast::Receiver, time::timeout};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query, after_event},
};

/// Without a hint the database is asked this often.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long after a hint the database is asked: one answer then holds what came meanwhile.
const GATHER: Duration = Duration::from_millis(5);
const PING_EVERY: Duration = Duration::from_secs(30);
const EVENTS_AT_ONCE: i64 = 500;
/// How long a client that is dropped has for reading why.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Close codes of RFC 6455 and its registry.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const INTERNAL: u16 = 1011;
const TRY_AGAIN_LATER: u16 = 1013;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(session))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveQuery {
    /// The number of the last event already known.
    #[param(minimum = 0)]
    after: Option<i32>,
    /// The server's token or a key, for clients that cannot send the header.
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// A WebSocket with the events of a session after a number, one JSON text each. Closes with 1000
/// after the last event of a session that has ended; with 1013 and `{code, after}` as its reason
/// when the client is too slow; with 1008 when its key is revoked.
#[utoipa::path(get, path = "/ws/sessions/{id}", tag = "live", operation_id = "follow_session",
    params(("id" = String, Path), LiveQuery),
    responses((status = SWITCHING_PROTOCOLS, description = "Events follow"),
              (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)))]
async fn session(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<LiveQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !caller.shared.access.accepts_origin(origin) {
            return Err(ApiError::ForbiddenOrigin(origin.to_owned()));
        }
    }
    let upgrade = upgrade.map_err(|rejection| ApiError::NotAnUpgrade(rejection.body_text()))?;
    let after = after_event(query.after)?;
    let session = caller.views.find_session(&id).await?;
    Ok(upgrade
        .max_message_size(64 * 1024)
        .on_upgrade(move |socket| Feed::new(caller, session, after).run(socket)))
}

/// One client and how far it has come.
struct Feed {
    caller: Caller,
    session: SessionKey,
    /// The last event that was handed to the socket.
    after: i32,
}

/// Why a feed ends.
enum End {
    /// The session has ended and all its events were sent.
    Complete,
    /// The client went away or broke the connection.
    Gone,
    TooSlow,
    Stopping,
    /// The key it was opened with holds no more.
    Revoked,
    Failed,
}

type Sender = SplitSink<WebSocket, Message>;

impl Feed {
    const fn new(caller: Caller, session: SessionKey, after: i32) -> Self {
        Self { caller, session, after }
    }

    async fn run(mut self, socket: WebSocket) {
        let (mut sender, receiver) = socket.split();
        // Subscribed before the first look, so that nothing falls between.
        let hints = self.caller.store.hints.subscribe_events();
        let stop = self.caller.shared.stop.clone();
        let caller = self.caller.clone();
        let end = tokio::select! {
            end = self.send_all(&mut sender, hints) => end,
            () = read_until_closed(receiver) => End::Gone,
            () = stop.cancelled() => End::Stopping,
            () = caller.revoked() => End::Revoked,
        };
        let (code, reason) = match end {
            End::Gone => (None, "gone"),
            End::Complete => (Some(NORMAL), "complete"),
            End::TooSlow => (Some(TRY_AGAIN_LATER), "slow_reader"),
            End::Stopping => (Some(GOING_AWAY), "stopping"),
            End::Revoked => (Some(POLICY), "revoked"),
            End::Failed => (Some(INTERNAL), "database"),
        };
        metrics::counter!("jobshop_sockets_closed_total", "reason" => reason).increment(1);
        let Some(code) = code else { return };
        let reason = json!({ "code": reason, "after": self.after });
        let close = CloseFrame { code, reason: reason.to_string().into() };
        // Whether the client hears it or not, this is the end.
        let _ = timeout(CLOSE_WITHIN, sender.send(Message::Close(Some(close)))).await;
    }

    async fn send_all(&mut self, sender: &mut Sender, mut hints: Receiver<Hint>) -> End {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.reset();
        loop {
            // Asked before the events are read: what is over then writes no more of them.
            let is_over = match self.caller.views.is_over(self.session).await {
                Ok(is_over) => is_over,
                Err(error) => return failed(&error),
            };
            let sent = match self.send_page(sender).await {
                Ok(sent) => sent,
                Err(end) => return end,
            };
            if sent > 0 {
                continue;
            }
            if is_over {
                return End::Complete;
            }
            tokio::select! {
                () = hinted(&mut hints, self.session) => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(POLL_EVERY) => {}
                _ = pings.tick() => {
                    let ping = sender.send(Message::Ping(Vec::new().into()));
                    if let Err(end) = handed(&timeout(self.caller.shared.slow_reader_after, ping).await) {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends the next events and returns how many there were.
    async fn send_page(&mut self, sender: &mut Sender) -> Result<usize, End> {
        let page = self.caller.views.events(self.session, self.after, Some(EVENTS_AT_ONCE)).await;
        let events = page.map_err(|error| failed(&error))?.items;
        let sent = events.len();
        for event in events {
            let text = serde_json::to_string(&event).map_err(|_| End::Failed)?;
            let handing = sender.feed(Message::Text(text.into()));
            handed(&timeout(self.caller.shared.slow_reader_after, handing).await)?;
            self.after = event.seq;
        }
        if sent > 0 {
            handed(&timeout(self.caller.shared.slow_reader_after, sender.flush()).await)?;
        }
        Ok(sent)
    }
}

/// What became of handing something to the socket in time.
fn handed<E, T>(result: &Result<Result<(), E>, T>) -> Result<(), End> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::TooSlow),
    }
}

fn failed(error: &ReadError) -> End {
    tracing::warn!(%error, "a live feed ended");
    End::Failed
}

/// Returns when the session may have new events.
async fn hinted(hints: &mut Receiver<Hint>, session: SessionKey) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match hints.recv().await {
            Ok(Hint::Event(id) | Hint::Ended(id)) if id == session.id => return,
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Clients have nothing to say; reading answers their pings and notices that they left.
async fn read_until_closed(mut receiver: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = receiver.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
