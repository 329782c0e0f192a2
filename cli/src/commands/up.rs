//! `jobshop up`: everything in one process, until it is told to stop.

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::app::App;
use crate::config::Flags;
use crate::data_dir::{DataDir, ServerFile};
use crate::exit::{Exit, Failure};
use crate::logging::{self, Detail};
use crate::service::{self, Database, Published, Service};
use crate::signals::Signals;
use crate::token;

/// Database, API, control loop and a worker for every capability, until told to stop.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Where the API listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How many tasks run at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
}

impl Up {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with("listen", "--listen", self.listen.clone()).with(
            "concurrency",
            "--concurrency",
            self.concurrency,
        )
    }

    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        logging::start(&app.config, app.output, Detail::Transitions)?;
        let dir = app.data_dir()?;
        let lock = dir.lock()?;
        let (listener, url) = service::listen(app.config.values.listen).await?;
        let token = token_of(app, &dir)?;
        let (database, store) = Database::open(app, &lock).await?;
        let mut service = Service::start(database, store).await?;
        service.serve(listener, token.clone());
        let executor = service::executor(app, dir.path().to_owned())?;
        service.work(executor, service::worker_config(app, vec!["*".into()], dir.path()));
        let signals = Signals::new()?;
        let file = ServerFile { url, token, pid: std::process::id() };
        let published = Published::new(&dir, &file)?;
        greet(app, &dir, &file)?;
        service.stay(signals, Some(published)).await
    }
}

/// The token that is set, else the one of the directory.
pub(super) fn token_of(app: &App, dir: &DataDir) -> Result<SecretString, Failure> {
    match &app.config.values.token {
        Some(token) => Ok(token.clone()),
        None => Ok(token::read_or_create(dir)?),
    }
}

/// Says where the server is and how to log in. The token itself is shown to a person only.
fn greet(app: &App, dir: &DataDir, server: &ServerFile) -> Result<(), Failure> {
    let (url, token_file) = (&server.url, token::path(dir));
    if app.output.is_json() {
        return app.output.json(&json!({
            "url": url,
            "token_file": token_file,
            "data_dir": dir.path(),
            "pid": server.pid,
        }));
    }
    let docs = if app.output.is_terminal {
        format!("{url}/docs?token={}", server.token.expose_secret())
    } else {
        format!("{url}/docs")
    };
    app.output.line(&format!(
        "Jobshop is up at {url}\n  \
         log in   commands of this machine find the token by themselves; elsewhere set\n           \
         JOBSHOP_SERVER={url} and JOBSHOP_TOKEN to what stands in\n           {}\n  \
         API      {docs}\n  \
         data     {}\n  \
         try      jobshop submit --watch workflows/hello.yaml",
        token_file.display(),
        dir.path().display(),
    ))?;
    Ok(())
}
