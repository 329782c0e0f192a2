//! The live events of one session, each exactly once and in order. A lost connection is made again
//! from the last event seen; the server may have been restarted elsewhere meanwhile. It does
//! not know what an event means.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Client, problem};
use crate::exit::{Exit, Failure};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection that says nothing for so long is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(20);
/// How long a lost server is looked for.
const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Receives the events of one session.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    session: String,
    last_seq: i64,
    socket: Option<Box<Socket>>,
}

impl EventStream {
    /// The events with numbers above `after`; connects at the first [`Self::next`].
    pub fn new(client: Client, session: &str, after: i64) -> Self {
        Self { client, session: session.to_owned(), last_seq: after, socket: None }
    }

    /// The client of the server that answered last.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The next event, or `None` once the session has ended and all was received. `find` looks for
    /// the server again after the connection was lost. Dropping the future loses nothing.
    pub async fn next(
        &mut self,
        find: impl Fn() -> Option<Client>,
    ) -> Result<Option<Value>, Failure> {
        let mut lost_since: Option<Instant> = None;
        let mut pause = PAUSE_FIRST;
        loop {
            let failure = match self.receive().await {
                Ok(Received::Event(event)) => return Ok(Some(event)),
                Ok(Received::End) => {
                    self.socket = None;
                    return Ok(None);
                }
                Ok(Received::Lost) => None,
                Err(failure) if failure.exit == Exit::Temporary => Some(failure),
                Err(failure) => return Err(failure),
            };
            self.socket = None;
            let since = *lost_since.get_or_insert_with(Instant::now);
            if let Some(failure) = failure.filter(|_| since.elapsed() > PATIENCE) {
                return Err(failure);
            }
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
            if let Some(client) = find() {
                self.client = client;
            }
        }
    }

    /// What this connection brings next.
    async fn receive(&mut self) -> Result<Received, Failure> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(connect(&self.client, &self.session, self.last_seq).await?),
        };
        let mut is_asked = false;
        loop {
            match timeout(QUIET, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    let Ok(event) = serde_json::from_str::<Value>(&text) else {
                        return Ok(Received::Lost);
                    };
                    let seq = event.get("seq").and_then(Value::as_i64).unwrap_or(0);
                    // What came before the connection was lost may come again.
                    if seq > self.last_seq {
                        self.last_seq = seq;
                        return Ok(Received::Event(event));
                    }
                }
                Ok(Some(Ok(Message::Close(Some(close))))) if close.code == CloseCode::Normal => {
                    return Ok(Received::End);
                }
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Ok(Received::Lost),
                Ok(Some(Ok(_))) => {}
                Err(_) if is_asked => return Ok(Received::Lost),
                Err(_) => {
                    if socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return Ok(Received::Lost);
                    }
                    is_asked = true;
                    continue;
                }
            }
            is_asked = false;
        }
    }
}

/// What a connection brought.
enum Received {
    Event(Value),
    /// The session has ended and nothing more will come.
    End,
    /// The connection is over, the session is not.
    Lost,
}

async fn connect(client: &Client, session: &str, after: i64) -> Result<Box<Socket>, Failure> {
    let server = &client.server;
    let lost = |why: String| Failure::temporary(why).hint(server.advice());
    let mut request = server
        .socket(session, after)
        .as_str()
        .into_client_request()
        .map_err(|error| lost(error.to_string()))?;
    if let Some(token) = &server.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| {
                Failure::new(Exit::Auth, "the token holds characters that cannot be sent")
            })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    match timeout(super::CONNECT_TIMEOUT, tokio_tungstenite::connect_async(request)).await {
        Ok(Ok((socket, _))) => Ok(Box::new(socket)),
        Ok(Err(Error::Http(answer))) => {
            let body = answer.body().clone().unwrap_or_default();
            Err(problem::refusal(server, answer.status().as_u16(), &body))
        }
        Ok(Err(error)) => Err(lost(format!("the server at {} is lost ({error})", server.url))),
        Err(_) => Err(lost(format!("the server at {} did not answer in time", server.url))),
    }
}
