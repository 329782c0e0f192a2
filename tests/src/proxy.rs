//! A way to Postgres that can be bad: answers get lost, or nothing gets through at all. It knows
//! nothing of what is said.

use std::{io, net::SocketAddr, str::FromStr as _, time::Duration};

use rand::Rng as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    Open,
    /// With this chance a message is the last of its connection: half of these do not arrive, the
    /// others do, and their answer is lost.
    Lossy(f64),
    /// Everything takes this much longer.
    Slow(Duration),
    /// Questions arrive, and no answer comes back.
    Mute,
    /// Nothing comes and goes, and nobody is told.
    Silent,
}

/// Listens until dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    port: u16,
    way: watch::Sender<Way>,
    /// Counts the times at which every connection was reset.
    resets: watch::Sender<usize>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A way to the database with this URL, which goes through a Unix socket.
    pub async fn start(url: &str) -> Self {
        Self::start_on(0, url).await
    }

    /// The same on a port that somebody knows already; 0 takes a free one.
    pub async fn start_on(port: u16, url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).expect("the URL is valid");
        let folder = options.get_socket().expect("a socket").clone();
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (way, ways) = watch::channel(Way::Open);
        let (resets, reset) = watch::channel(0);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (socket, ways, mut reset) = (socket.clone(), ways.clone(), reset.clone());
                reset.mark_unchanged();
                connections.spawn(async move {
                    // A broken connection is what this is for.
                    if let Ok(server) = UnixStream::connect(socket).await {
                        let _ = Connection { client, server, ways, reset }.carry().await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        let database = options.get_database().unwrap_or("postgres").to_owned();
        let plain = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(address.port())
            .username(options.get_username())
            .database(&database)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        Self {
            url: plain.to_url_lossy().to_string(),
            port: address.port(),
            way,
            resets,
            _serving: serving,
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Leads to the same database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, for the connections that there are as well.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Resets every connection that there is.
    pub fn reset(&self) {
        self.resets.send_modify(|times| *times += 1);
    }
}

struct Connection {
    client: TcpStream,
    server: UnixStream,
    ways: watch::Receiver<Way>,
    reset: watch::Receiver<usize>,
}

impl Connection {
    async fn carry(mut self) -> io::Result<()> {
        let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                _ = self.reset.changed() => return self.client.set_zero_linger(),
                count = self.client.read(&mut asked) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    let Some(way) = self.pass(false).await? else { return Ok(()) };
                    let is_last = matches!(way, Way::Lossy(chance) if rand::rng().random_bool(chance));
                    if is_last && rand::rng().random_bool(0.5) {
                        return Ok(());
                    }
                    self.server.write_all(&asked[..count]).await?;
                    if is_last {
                        // Answered, and nobody hears it.
                        let _ = self.server.read(&mut answered).await?;
                        return Ok(());
                    }
                }
                count = self.server.read(&mut answered) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    if self.pass(true).await?.is_none() {
                        return Ok(());
                    }
                    self.client.write_all(&answered[..count]).await?;
                }
            }
        }
    }

    /// Waits while nothing gets through; returns how the way is then, or nothing when the
    /// connection was reset.
    async fn pass(&mut self, is_answer: bool) -> io::Result<Option<Way>> {
        let is_closed = |way: &Way| match way {
            Way::Silent => true,
            Way::Mute => is_answer,
            Way::Open | Way::Lossy(_) | Way::Slow(_) => false,
        };
        let way = tokio::select! {
            way = self.ways.wait_for(|way| !is_closed(way)) => way.map_or(Way::Open, |way| *way),
            _ = self.reset.changed() => {
                self.client.set_zero_linger()?;
                return Ok(None);
            }
        };
        if let Way::Slow(by) = way {
            tokio::time::sleep(by).await;
        }
        Ok(Some(way))
    }
}
