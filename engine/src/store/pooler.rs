//! The way to a pooler in transaction mode, for `statement_cache = 0`. Such a pooler may send each
//! statement to another connection of the server, so nothing may outlive a transaction: no prepared
//! statement, no setting of the connection. The driver asks twice for one statement, though: what it
//! is like, and then to execute it; in between the pooler would take the connection away.
//!
//! So the driver speaks through this, in the same process. Statements lose their names, and the end
//! of the first question becomes a flush: for the pooler both questions are one. What a pooler
//! refuses at the start of a connection is left out. It knows nothing of SQL.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as Port},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

/// What a pooler may know nothing of; the role or the database can carry it (docs/operations.md).
const LEFT_OUT: [&str; 2] = ["options", "extra_float_digits"];

/// Listens on the loopback for this process until the last clone is dropped. Whoever else connects
/// gets to the pooler as if directly, and has to prove there who it is.
#[derive(Debug, Clone)]
pub(super) struct Pooler {
    address: SocketAddr,
    _serving: Arc<Mutex<JoinSet<()>>>,
}

/// Where the pooler is.
#[derive(Debug, Clone)]
enum Place {
    Socket(PathBuf),
    Host(String, u16),
}

impl Pooler {
    /// Has to be called within a runtime.
    pub(super) fn start(to: &PgConnectOptions) -> sqlx::Result<Self> {
        if matches!(
            to.get_ssl_mode(),
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
        ) {
            let why = "sslmode: the way to a pooler is plain when statement_cache is 0";
            return Err(sqlx::Error::Configuration(why.into()));
        }
        let place = match to.get_socket() {
            Some(folder) => Place::Socket(folder.join(format!(".s.PGSQL.{}", to.get_port()))),
            None => Place::Host(to.get_host().to_owned(), to.get_port()),
        };
        let port = Port::bind((Ipv4Addr::LOCALHOST, 0))?;
        port.set_nonblocking(true)?;
        let address = port.local_addr()?;
        let listener = TcpListener::from_std(port)?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, place));
        Ok(Self { address, _serving: Arc::new(Mutex::new(serving)) })
    }

    /// The same way by way of this.
    pub(super) fn lead(&self, options: &PgConnectOptions) -> PgConnectOptions {
        // The driver prefers a socket over a host, so there must be none.
        let mut plain = PgConnectOptions::new_without_pgpass()
            .host(&self.address.ip().to_string())
            .port(self.address.port())
            .username(options.get_username())
            .ssl_mode(PgSslMode::Disable)
            .statement_cache_capacity(0);
        if let Some(database) = options.get_database() {
            plain = plain.database(database);
        }
        if let Some(password) = password(options) {
            plain = plain.password(&password);
        }
        plain.application_name(options.get_application_name().unwrap_or("jobshop"))
    }
}

/// The driver tells it in a URL only.
fn password(options: &PgConnectOptions) -> Option<String> {
    use sqlx::ConnectOptions as _;
    let url = options.to_url_lossy();
    let mut pairs = url.query_pairs();
    let coded = url.password().map(str::to_owned);
    pairs.find(|(key, _)| key == "password").map(|(_, value)| value.into_owned()).or(coded)
}

async fn serve(listener: TcpListener, place: Place) {
    let mut ways = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let place = place.clone();
        ways.spawn(async move {
            // Whoever uses a broken connection learns it by that.
            let _ = match place {
                Place::Socket(path) => match UnixStream::connect(path).await {
                    Ok(server) => Way::new(client, server).carry().await,
                    Err(error) => Err(error),
                },
                Place::Host(host, port) => match TcpStream::connect((host, port)).await {
                    Ok(server) => {
                        let _ = server.set_nodelay(true);
                        Way::new(client, server).carry().await
                    }
                    Err(error) => Err(error),
                },
            };
        });
        while ways.try_join_next().is_some() {}
    }
}

/// One connection.
struct Way<S> {
    client: TcpStream,
    server: S,
    /// What was read and is not a whole message yet.
    asked: Vec<u8>,
    answered: Vec<u8>,
    has_started: bool,
    question: Question,
    /// How the last answer said that the connection stands: idle, in a transaction, in a failed one.
    status: u8,
}

/// What was asked since the last answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// What a statement is like; whether its columns are asked for.
    Prepares {
        describes: bool,
    },
    /// The same, and the client waits for the end of the answer.
    Flushed {
        describes: bool,
    },
    Executes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Way<S> {
    fn new(client: TcpStream, server: S) -> Self {
        let _ = client.set_nodelay(true);
        Self {
            client,
            server,
            asked: Vec::new(),
            answered: Vec::new(),
            has_started: false,
            question: Question::None,
            status: b'I',
        }
    }

    async fn carry(mut self) -> io::Result<()> {
        loop {
            // Both are cancel-safe: what was read is in the buffer.
            let count = tokio::select! {
                count = self.client.read_buf(&mut self.asked) => count?,
                count = self.server.read_buf(&mut self.answered) => count?,
            };
            if count == 0 {
                return Ok(());
            }
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            if !self.has_started
                && let Some(start) = cut(&mut self.asked, 0)
            {
                to_server.extend(without_settings(&start));
                self.has_started = true;
            }
            while self.has_started
                && let Some(message) = cut(&mut self.asked, 1)
            {
                to_server.extend(self.ask(message));
            }
            while let Some(message) = cut(&mut self.answered, 1) {
                self.answer(message, &mut to_client, &mut to_server);
            }
            if !to_server.is_empty() {
                self.server.write_all(&to_server).await?;
            }
            if !to_client.is_empty() {
                self.client.write_all(&to_client).await?;
            }
        }
    }

    /// What becomes of a message to the server.
    fn ask(&mut self, message: Vec<u8>) -> Vec<u8> {
        match (message[0], self.question) {
            (b'P', _) => {
                self.question = Question::Prepares { describes: false };
                without_name(&message, 0)
            }
            (b'D', _) => {
                if let Question::Prepares { describes } = &mut self.question {
                    *describes = true;
                }
                if message[5] == b'S' { without_name(&message, 1) } else { message }
            }
            (b'B', _) => {
                self.question = Question::Executes;
                let portal = end_of_text(&message, 5) - 5;
                without_name(&message, portal)
            }
            (b'Q', _) => {
                self.question = Question::Executes;
                message
            }
            (b'S', Question::Prepares { describes }) => {
                self.question = Question::Flushed { describes };
                b"H\0\0\0\x04".to_vec()
            }
            _ => message,
        }
    }

    /// What becomes of a message to the client.
    fn answer(&mut self, message: Vec<u8>, to_client: &mut Vec<u8>, to_server: &mut Vec<u8>) {
        let kind = message[0];
        if kind == b'Z' {
            self.status = message[5];
        }
        to_client.extend(message);
        let Question::Flushed { describes } = self.question else { return };
        let is_last = if describes { matches!(kind, b'T' | b'n') } else { kind == b'1' };
        if kind == b'E' {
            // The server leaves out everything until then, and says itself how it stands.
            to_server.extend(b"S\0\0\0\x04");
            self.question = Question::None;
        } else if is_last {
            to_client.extend([b'Z', 0, 0, 0, 5, self.status]);
            self.question = Question::None;
        }
    }
}

/// Takes the first message out of a buffer, if all of it is there; its length stands after `head`
/// bytes.
fn cut(buffer: &mut Vec<u8>, head: usize) -> Option<Vec<u8>> {
    let length = buffer.get(head..head + 4)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = head + usize::try_from(length).ok()?;
    if buffer.len() < end || end < head + 4 {
        return None;
    }
    let rest = buffer.split_off(end);
    Some(std::mem::replace(buffer, rest))
}

/// The position after the text that begins at `from` and ends with a zero.
fn end_of_text(message: &[u8], from: usize) -> usize {
    let zero = message[from..].iter().position(|byte| *byte == 0);
    zero.map_or(message.len(), |zero| from + zero + 1)
}

/// The message without the name that begins so many bytes after its head.
fn without_name(message: &[u8], skip: usize) -> Vec<u8> {
    let from = 5 + skip;
    let to = end_of_text(message, from);
    let body = [&message[5..from], &[0], message.get(to..).unwrap_or_default()].concat();
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&message[..1], &length.to_be_bytes(), &body].concat()
}

/// The first message of a connection without what a pooler may refuse.
fn without_settings(start: &[u8]) -> Vec<u8> {
    let mut body = start[4..8].to_vec();
    let mut at = 8;
    while at < start.len() && start[at] != 0 {
        let value = end_of_text(start, at);
        let next = end_of_text(start, value);
        let name = &start[at..value.saturating_sub(1)];
        if !LEFT_OUT.iter().any(|it| it.as_bytes() == name) {
            body.extend(&start[at..next]);
        }
        at = next;
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn a_statement_loses_its_name_wherever_it_stands() {
        let parse = message(b'P', b"sqlx_s_1\0select 1\0\0\0");
        assert_eq!(without_name(&parse, 0), message(b'P', b"\0select 1\0\0\0"));
        let describe = message(b'D', b"Ssqlx_s_1\0");
        assert_eq!(without_name(&describe, 1), message(b'D', b"S\0"));
    }

    #[test]
    fn a_connection_begins_without_settings() {
        let body = b"\0\x03\0\0user\0me\0options\0-c jit=off\0database\0it\0\0";
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let start = [&length[..], &body[..]].concat();
        let kept = without_settings(&start);
        assert_eq!(&kept[4..], b"\0\x03\0\0user\0me\0database\0it\0\0");
        assert_eq!(kept[..4], u32::try_from(kept.len()).unwrap().to_be_bytes());
    }

    #[test]
    fn a_message_is_cut_when_all_of_it_is_there() {
        let whole = message(b'S', b"");
        let mut buffer = [&whole[..], &whole[..3]].concat();
        assert_eq!(cut(&mut buffer, 1), Some(whole.clone()));
        assert_eq!(cut(&mut buffer, 1), None);
        buffer.extend(&whole[3..]);
        assert_eq!(cut(&mut buffer, 1), Some(whole));
    }
}
