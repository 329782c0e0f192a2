//! `jobshop session`: everything about single executions. One file for each kind of question.

mod checkpoints;
mod conflicts;
mod control;
mod diff;
mod events;
mod evidence;
mod list;
mod logs;
mod retry;
mod send;
mod show;
mod signal;
mod submit;
mod tasks;
mod tree;
mod watch;
mod why;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session};
use crate::exit::{Exit, Failure};

pub(super) use submit::Submit;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Start a session of a workflow file, a registered workflow or standard input
    Submit(Submit),
    /// List sessions, newest first
    List(list::List),
    /// Show one session
    Show(SessionName),
    /// Follow a session to its end
    Watch(watch::Watch),
    /// List the tasks of a session
    Tasks(tasks::Tasks),
    /// List the events of a session
    Events(events::Events),
    /// Print what the attempts of a session, or of one task, wrote
    Logs(logs::Logs),
    /// Show what workers saw of the results of a session, or of one task
    Evidence(evidence::Evidence),
    /// Say exactly why a session or task does not move
    Why(why::Why),
    /// Let a session go that was submitted with --no-start
    Start(control::Act),
    /// Start nothing new of a session or task; what runs goes on
    Pause(control::TaskAct),
    /// Go on with a paused session or task
    Resume(control::TaskAct),
    /// End a session gracefully: what runs is told to stop and has 30 s
    Stop(control::Act),
    /// End a session at once
    Cancel(control::Act),
    /// End a session as completed; what is open of it is cancelled
    Complete(control::Act),
    /// End a session as failed; what is open of it is cancelled
    Fail(control::Act),
    /// Tell a session what its tasks wait for
    Signal(signal::Signal),
    /// Run the failed tasks of an ended session again; what is done stays done
    Retry(retry::Retry),
    /// Start a new session that shares what was done up to a task, and differs after it
    Fork(retry::Fork),
    /// Show a session and the sessions that its tasks are
    Tree(SessionName),
    /// Hide a session that has ended; it can be restored
    Delete(control::Act),
    /// Show a deleted session again; with --checkpoint take an ended one back to there
    Restore(retry::Restore),
    /// List where the agents of a session can be taken up again
    Checkpoints(checkpoints::Checkpoints),
    /// Say something to a running agent
    Send(send::Send),
    /// Watch an agent work; each line typed is said to it
    Attach(send::Attach),
    /// Show what a session, or one task, changed in its repository
    Diff(diff::Diff),
    /// List what tasks made that cannot be merged
    Conflicts(conflicts::Conflicts),
}

/// A session as it is named on the command line.
#[derive(Debug, Clone, Args)]
pub(super) struct SessionName {
    /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
    session: String,
}

impl SessionCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::Submit(command) => command.execute(app).await,
            Self::List(command) => command.execute(app).await,
            Self::Show(name) => show::execute(app, &name).await,
            Self::Watch(command) => command.execute(app).await,
            Self::Tasks(command) => command.execute(app).await,
            Self::Events(command) => command.execute(app).await,
            Self::Logs(command) => command.execute(app).await,
            Self::Evidence(command) => command.execute(app).await,
            Self::Why(command) => command.execute(app).await,
            Self::Start(act) => act.execute(app, "start").await,
            Self::Pause(act) => act.execute(app, "pause").await,
            Self::Resume(act) => act.execute(app, "resume").await,
            Self::Stop(act) => act.execute(app, "stop").await,
            Self::Cancel(act) => act.execute(app, "cancel").await,
            Self::Complete(act) => act.execute(app, "complete").await,
            Self::Fail(act) => act.execute(app, "fail").await,
            Self::Signal(command) => command.execute(app).await,
            Self::Retry(command) => command.execute(app).await,
            Self::Fork(command) => command.execute(app).await,
            Self::Tree(name) => tree::execute(app, &name).await,
            Self::Delete(act) => act.delete(app).await,
            Self::Restore(command) => command.execute(app).await,
            Self::Checkpoints(command) => command.execute(app).await,
            Self::Send(command) => command.execute(app).await,
            Self::Attach(command) => command.execute(app).await,
            Self::Diff(command) => command.execute(app).await,
            Self::Conflicts(command) => command.execute(app).await,
        }
    }
}

impl SessionName {
    /// As it was written.
    fn given(&self) -> &str {
        &self.session
    }

    /// The session's full id.
    pub(super) async fn resolve(&self, client: &Client) -> Result<String, Failure> {
        Ok(self.find(client).await?.1.id)
    }

    async fn find(&self, client: &Client) -> Result<(Value, Session), Failure> {
        let object = client.session(&self.session).await?;
        let session = objects::read(&object)?;
        Ok((object, session))
    }
}
