//! A way to Postgres that can be bad: answers get lost, or nothing gets through at all. It knows
//! nothing of what is said.

use std::{io, net::SocketAddr, str::FromStr as _};

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
    /// Nothing comes and goes, and nobody is told.
    Silent,
}

/// Listens until dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    way: watch::Sender<Way>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A way to the database with this URL, which goes through a Unix socket.
    pub async fn start(url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).expect("the URL is valid");
        let folder = options.get_socket().expect("a socket").clone();
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (way, ways) = watch::channel(Way::Open);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (socket, ways) = (socket.clone(), ways.clone());
                connections.spawn(async move {
                    // A broken connection is what this is for.
                    if let Ok(server) = UnixStream::connect(socket).await {
                        let _ = Connection { client, server, ways }.carry().await;
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
        Self { url: plain.to_url_lossy().to_string(), way, _serving: serving }
    }

    /// Leads to the same database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, for the connections that there are as well.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

struct Connection {
    client: TcpStream,
    server: UnixStream,
    ways: watch::Receiver<Way>,
}

impl Connection {
    async fn carry(mut self) -> io::Result<()> {
        let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                count = self.client.read(&mut asked) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    let way = self.pass().await;
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
                    self.pass().await;
                    self.client.write_all(&answered[..count]).await?;
                }
            }
        }
    }

    /// Waits while nothing gets through; returns how the way is then.
    async fn pass(&mut self) -> Way {
        match self.ways.wait_for(|way| *way != Way::Silent).await {
            Ok(way) => *way,
            Err(_) => Way::Open,
        }
    }
}
