//! `jobshop serve`: API and control loop for a fleet, until it is told to stop.

use clap::Args;

use super::up::token_of;
use crate::app::App;
use crate::config::Flags;
use crate::data_dir::{DataDirError, ServerFile};
use crate::exit::{Exit, Failure};
use crate::logging::{self, Detail};
use crate::service::{self, Database, Published, Service};
use crate::signals::Signals;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where the API listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

impl Serve {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with("listen", "--listen", self.listen.clone())
    }

    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        logging::start(&app.config, app.output, Detail::Transitions)?;
        let dir = app.data_dir()?;
        // Several may serve from one machine; commands find the one that came first.
        let lock = match dir.lock() {
            Ok(lock) => Some(lock),
            Err(DataDirError::InUse { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let (database, store) = Database::join(app, &dir).await?;
        let (listener, url) = service::listen(app.config.values.listen).await?;
        let token = token_of(app, &dir)?;
        let mut service = Service::start(database, store).await?;
        service.serve(listener, token.clone());
        let signals = Signals::new()?;
        app.output.line(&format!("Jobshop serves at {url}"))?;
        let file = ServerFile { url, token, pid: std::process::id() };
        let published = lock.is_some().then(|| Published::new(&dir, &file)).transpose()?;
        service.stay(signals, published).await
    }
}
