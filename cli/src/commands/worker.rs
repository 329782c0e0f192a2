//! `jobshop worker`: executes tasks for a fleet, until it is told to stop.

use clap::Args;

use crate::app::App;
use crate::config::Flags;
use crate::exit::{Exit, Failure};
use crate::logging::{self, Detail};
use crate::service::{self, Database, Service};
use crate::signals::Signals;

#[derive(Debug, Args)]
pub(super) struct Worker {
    /// A capability that it offers, '*' for all; may be repeated. Without any it takes only tasks
    /// that require none
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// How many tasks run at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Its name among the agents
    #[arg(long)]
    name: Option<String>,
}

impl Worker {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        let capabilities = (!self.capabilities.is_empty()).then(|| self.capabilities.clone());
        flags
            .with("capabilities", "--capability", capabilities)
            .with("concurrency", "--concurrency", self.concurrency)
            .with("worker_name", "--name", self.name.clone())
    }

    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        logging::start(&app.config, app.output, Detail::Transitions)?;
        let dir = app.data_dir()?;
        let (database, store) = Database::join(app, &dir).await?;
        let slot = service::free_folder(&dir)?;
        let folder = slot.dir().path();
        let mut service = Service::start(database, store).await?;
        let capabilities = app.config.values.capabilities.clone().unwrap_or_default();
        let executor = service::executor(app, folder.to_owned())?;
        service.work(executor, service::worker_config(app, capabilities, folder));
        service.stay(Signals::new()?, None).await
    }
}
