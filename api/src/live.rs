//! The live events of one session: every event once and in order, from the number the client asks
//! for, until the session has ended. New events are read once for all who follow the session; a
//! client that is further behind is sent what the database has, as fast as it takes it. Nothing is
//! gathered for a slow client; one that takes nothing for a while is dropped with the number it can
//! resume from.

pub(crate) mod shared_feed;

use std::time::Duration;

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, header},
    response::Response,
};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use jobshop_engine::{id::SessionKey, store::view::ReadError};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query, after_event},
};
use shared_feed::{FeedEnd, SharedFeed, Taken};

const PING_EVERY: Duration = Duration::from_secs(30);
/// Events that a client that is behind is sent at once.
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
        let stop = self.caller.shared.stop.clone();
        let caller = self.caller.clone();
        let end = tokio::select! {
            end = self.send_all(&mut sender) => end,
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

    async fn send_all(&mut self, sender: &mut Sender) -> End {
        let Caller { shared, store, views, .. } = self.caller.clone();
        let feed = match shared.feeds.follow(&views, &store.hints, self.session).await {
            Ok(feed) => feed,
            Err(error) => return failed(&error),
        };
        let mut head = feed.head();
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.reset();
        loop {
            // Read before the events: what is over then has no more of them.
            let seen = *head.borrow_and_update();
            let sent = match self.send_some(sender, &feed).await {
                Ok(sent) => sent,
                Err(end) => return end,
            };
            if sent > 0 {
                continue;
            }
            match seen.end {
                Some(FeedEnd::Complete) => return End::Complete,
                Some(FeedEnd::Failed) => return End::Failed,
                None => {}
            }
            tokio::select! {
                _ = head.changed() => {}
                _ = pings.tick() => {
                    let ping = sender.send(Message::Ping(Vec::new().into()));
                    if let Err(end) = handed(&timeout(shared.slow_reader_after, ping).await) {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends the next events and returns how many there were.
    async fn send_some(&mut self, sender: &mut Sender, feed: &SharedFeed) -> Result<usize, End> {
        let texts = match feed.take(self.after) {
            Taken::Texts(texts) => texts,
            Taken::TooOld => self.read_page().await?,
        };
        for text in &texts {
            let handing = sender.feed(Message::Text(text.clone()));
            handed(&timeout(self.caller.shared.slow_reader_after, handing).await)?;
            self.after += 1;
        }
        if !texts.is_empty() {
            handed(&timeout(self.caller.shared.slow_reader_after, sender.flush()).await)?;
        }
        Ok(texts.len())
    }

    async fn read_page(&self) -> Result<Vec<Utf8Bytes>, End> {
        let page = self.caller.views.events(self.session, self.after, Some(EVENTS_AT_ONCE)).await;
        let events = page.map_err(|error| failed(&error))?.items;
        let texts = events.iter().map(|event| Ok(serde_json::to_string(event)?.into()));
        texts.collect::<Result<_, serde_json::Error>>().map_err(|_| End::Failed)
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

/// Clients have nothing to say; reading answers their pings and notices that they left.
async fn read_until_closed(mut receiver: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = receiver.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
