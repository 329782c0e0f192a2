//! `PgBouncer` in transaction mode, as Debian's package `pgbouncer` installs it, before the server of a
//! test. `JOBSHOP_TEST_POOLER=1` puts one before the database of every test.

use std::{
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::wait;

/// Few, so that statements of one connection meet those of others on the same one of the server.
const SERVER_CONNECTIONS: u32 = 8;

/// Runs until dropped.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    user: String,
    _process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Whether tests are to go through one.
    pub fn is_wanted() -> bool {
        std::env::var_os("JOBSHOP_TEST_POOLER").is_some_and(|value| value == "1")
    }

    /// In front of a server that is reached by a socket; `None`, and a word about it, where `PgBouncer`
    /// is not installed.
    #[expect(clippy::print_stderr, reason = "a test that does nothing has to say so")]
    pub async fn start(server: &PgConnectOptions) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("SKIPPED: no pgbouncer here; on Debian: apt-get install pgbouncer");
            return None;
        };
        let socket = server.get_socket().expect("a socket").clone();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.expect("a free port").port();
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let user = server.get_username().to_owned();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={} user={user}\n\
             [pgbouncer]\npool_mode = transaction\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nmax_client_conn = 1000\n\
             default_pool_size = {SERVER_CONNECTIONS}\n",
            socket.display(),
            server.get_port(),
        );
        std::fs::write(&config, text).expect("a writable folder");
        let mut command = Command::new(program);
        // It refuses to be root, and the socket is its owner's alone.
        if nix::unistd::Uid::effective().is_root() {
            command.args(["-u", &owner(&socket)]);
        }
        let process = command
            .arg("-q")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("pgbouncer starts");
        let this = Self { port, user, _process: process, _folder: folder };
        wait::until("pgbouncer to listen", wait::LIMIT, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| ())
        })
        .await;
        Some(this)
    }

    /// Leads to a database of the server.
    pub fn url(&self, database: &str) -> String {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(&self.user)
            .database(database)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        options.to_url_lossy().to_string()
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("pgbouncer")).find(|it| it.is_file())
}

fn owner(path: &Path) -> String {
    let uid = path.metadata().expect("the socket's folder").uid();
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| "nobody".to_owned(), |user| user.name)
}
