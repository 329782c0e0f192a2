//! `jobshop worker`: executes tasks for a fleet, until it is told to stop.

use clap::Args;
use jobshop_engine::routing::{AgentType, Complexity};

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
    /// Its type among the agents: architect, implementer, reviewer, debugger, integrator,
    /// orchestrator, analyst or optimizer; without it that of most of its capabilities
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AgentType>,
    /// A technology that it is good at; may be repeated
    #[arg(long = "technology", value_name = "NAME")]
    technologies: Vec<String>,
    /// A technology that it keeps away from; may be repeated
    #[arg(long = "avoid", value_name = "NAME")]
    avoids: Vec<String>,
    /// What it is best at: simple, medium, complex or expert
    #[arg(long)]
    complexity: Option<Complexity>,
    /// What people tell it by; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

impl Worker {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        flags
            .with("capabilities", "--capability", some(&self.capabilities))
            .with("concurrency", "--concurrency", self.concurrency)
            .with("worker_name", "--name", self.name.clone())
            .with("agent_type", "--type", self.kind.map(AgentType::as_str))
            .with("agent_technologies", "--technology", some(&self.technologies))
            .with("agent_avoids", "--avoid", some(&self.avoids))
            .with("agent_complexity", "--complexity", self.complexity.map(Complexity::as_str))
            .with("agent_labels", "--label", some(&self.labels))
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
