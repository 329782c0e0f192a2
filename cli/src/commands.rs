//! The command line: one file a command. It does not know what the commands do.

mod agent;
mod artifact;
mod bench;
mod budget;
mod completion;
mod context;
mod doctor;
mod follow;
mod graph;
mod host;
mod inbox;
mod key;
mod policy;
mod prompt;
mod provider;
mod request;
mod run;
mod schedule;
mod schema;
mod serve;
mod session;
mod simulate;
mod template;
mod tenant;
mod up;
mod validate;
mod worker;
mod workflow;
mod workspace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::config::{Config, Flags};
use crate::exit::{Exit, Failure};
use crate::output::{Form, Output};

const AFTER_HELP: &str = "\
Ids may be shortened to any unique tail of at least 6 characters; @latest is the newest session and
@latest:NAME the newest one of a workflow.

Exit codes: 0 ok, 1 the session failed, 2 usage or invalid workflow, 3 auth, 4 not found,
5 conflict, 6 waiting for a person (--exit-on-wait), 75 temporary.";

/// Durable workflows of autonomous coding sessions.
#[derive(Debug, Parser)]
#[command(name = "jobshop", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command accepts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Print JSON on standard output, everything else on standard error
    #[arg(long, global = true)]
    json: bool,
    /// Where the database, workspaces and server.json live
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server to talk to
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything in one process
    Up(up::Up),
    /// Run a workflow file to its end, on the running server or without one
    Run(run::Run),
    /// Have a coding agent do one thing
    Prompt(prompt::Prompt),
    /// Start API and control loop, for fleets
    Serve(serve::Serve),
    /// Start a worker, for fleets
    Worker(worker::Worker),
    /// Report every problem of workflow files
    Validate(validate::Validate),
    /// Draw the graph of a workflow file
    Graph(graph::Graph),
    /// Play a workflow file with made-up outcomes: order, waits, critical path, duration
    Simulate(simulate::Simulate),
    /// Print the JSON Schema of the workflow language
    Schema,
    /// Sessions: submit, list, show, watch, explain, cancel, retry
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Start a session (the same as `session submit`)
    Submit(session::Submit),
    /// Registered workflows: apply, diff, list, show, versions
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Schedules: list, show, create, pause, resume, trigger, backfill, preview
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// The agents that work for this installation
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// What tasks and agents ask of people: list (without a word), show, answer
    Inbox(inbox::Inbox),
    /// Vote for what a task asks
    Approve(inbox::Approve),
    /// Reject what a task asks
    Reject(inbox::Vote),
    /// Keys that people and programs come in with: create, list, revoke
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Tenants, who share this installation and see nothing of each other: create, list
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Show every setting, where it came from, and whether everything needed is there
    Doctor(doctor::Doctor),
    /// Measure this installation through the public path
    Bench(bench::Bench),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Files that tasks left: list, get
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    /// Workspaces on this machine: list, gc, pin
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// What tasks, agents and people share: get, set, diff, merge, history, share, promote
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// What sessions may take and have taken, and what models cost: show, raise, prices
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Providers of models, whose quota the whole fleet shares: list, set
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// Ways to break down goals: list, show
    #[command(subcommand)]
    Template(template::TemplateCommand),
    /// Rules about what agents may do: list, add, remove, test, suggest
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

impl CommandLine {
    /// Does what the arguments ask for. What went wrong has been told when this returns.
    pub fn execute(self) -> Exit {
        let output = Output::new(if self.global.json { Form::Json } else { Form::Text });
        let flags = self.command.flags(
            Flags::default()
                .with(
                    "data_dir",
                    "--data-dir",
                    self.global.data_dir.map(|dir| dir.display().to_string()),
                )
                .with("server", "--server", self.global.server),
        );
        let done = Config::load(flags).and_then(|config| {
            for warning in &config.warnings {
                output.note(&format!("warning: {warning}"));
            }
            self.command.execute(&App { config, output })
        });
        done.unwrap_or_else(|failure| {
            output.failure(&failure);
            failure.exit
        })
    }
}

impl Command {
    /// The settings that the flags of this command carry.
    fn flags(&self, flags: Flags) -> Flags {
        match self {
            Self::Up(command) => command.flags(flags),
            Self::Serve(command) => command.flags(flags),
            Self::Worker(command) => command.flags(flags),
            Self::Run(_)
            | Self::Prompt(_)
            | Self::Validate(_)
            | Self::Graph(_)
            | Self::Simulate(_)
            | Self::Schema
            | Self::Session(_)
            | Self::Submit(_)
            | Self::Workflow(_)
            | Self::Schedule(_)
            | Self::Agent(_)
            | Self::Artifact(_)
            | Self::Workspace(_)
            | Self::Context(_)
            | Self::Budget(_)
            | Self::Provider(_)
            | Self::Template(_)
            | Self::Policy(_)
            | Self::Inbox(_)
            | Self::Approve(_)
            | Self::Reject(_)
            | Self::Key(_)
            | Self::Tenant(_)
            | Self::Doctor(_)
            | Self::Bench(_)
            | Self::Completion(_) => flags,
        }
    }

    fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::Up(command) => run(command.execute(app)),
            Self::Run(command) => run(command.execute(app)),
            Self::Prompt(command) => run(command.execute(app)),
            Self::Serve(command) => run(command.execute(app)),
            Self::Worker(command) => run(command.execute(app)),
            Self::Validate(command) => command.execute(app),
            Self::Graph(command) => command.execute(app),
            Self::Simulate(command) => command.execute(app),
            Self::Schema => schema::execute(app),
            Self::Template(command) => command.execute(app),
            Self::Completion(command) => command.execute(app),
            Self::Session(command) => run(command.execute(app)),
            Self::Submit(command) => run(command.execute(app)),
            Self::Workflow(command) => run(command.execute(app)),
            Self::Schedule(command) => run(command.execute(app)),
            Self::Agent(command) => run(command.execute(app)),
            Self::Artifact(command) => run(command.execute(app)),
            Self::Workspace(command) => run(command.execute(app)),
            Self::Context(command) => run(command.execute(app)),
            Self::Budget(command) => run(command.execute(app)),
            Self::Provider(command) => run(command.execute(app)),
            Self::Inbox(command) => run(command.execute(app)),
            Self::Policy(command) => run(command.execute(app)),
            Self::Approve(command) => run(command.execute(app)),
            Self::Reject(command) => run(command.execute(app, "reject")),
            Self::Key(command) => run(command.execute(app)),
            Self::Tenant(command) => run(command.execute(app)),
            Self::Doctor(command) => run(command.execute(app)),
            Self::Bench(command) => run(command.execute(app)),
        }
    }
}

/// Runs a command that waits for others.
fn run(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    done
}
