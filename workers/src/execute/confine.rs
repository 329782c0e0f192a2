//! Who is put into a sandbox, and what such an attempt may see and change.

use std::path::PathBuf;

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Work, Workspace},
    outcome::ErrorClass,
    plan::AgentRuntime,
};

use super::{
    Inner,
    directory::{Directory, Room},
    environment::Environment,
    halt::{Done, Halt},
    sandbox::{Cell, Mode},
};

impl Inner {
    /// Sees to it that what is started in this room is in a sandbox, where that is due. Says in the
    /// environment where temporary files go.
    pub(super) fn confine(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        room: &Room,
        env: &mut Environment,
    ) -> Done<()> {
        if !is_due(self.programs.sandbox.mode(), attempt) {
            return Ok(());
        }
        if let Some(fault) = self.programs.sandbox.fault() {
            let why = format!(
                "no sandbox: {fault}; install bubblewrap, or let agents run without one \
                 (JOBSHOP_SANDBOX=off)"
            );
            return Err(Halt::failed(ErrorClass::NoAgent, why));
        }
        room.create().context("making a place for a sandbox")?;
        let cell = Cell {
            directory: directory.path().to_owned(),
            own: vec![room.workspace.clone(), room.outputs.clone(), room.tmp.clone()],
            read: self.shared_with(attempt)?,
            home: room.home.clone(),
        };
        self.programs.sandbox.confine(&room.workspace, cell);
        env.push(("TMPDIR".to_owned(), room.tmp.display().to_string()));
        Ok(())
    }

    /// The objects that its clone borrows, the folder of the workflow file, and what configures the
    /// agent.
    fn shared_with(&self, attempt: &Attempt) -> Done<Vec<PathBuf>> {
        let file_dir = attempt.file_dir.as_deref();
        let mut shared: Vec<PathBuf> = file_dir.map(PathBuf::from).into_iter().collect();
        if let Workspace::Clone { repo, .. } = &attempt.workspace {
            shared.push(self.repositories.locate(repo, file_dir)?.objects());
        }
        if matches!(attempt.work, Work::Agent(_)) {
            let opencode = self.config.opencode.as_ref();
            shared.extend(opencode.and_then(|installed| installed.config.clone()));
        }
        Ok(shared)
    }
}

fn is_due(mode: Mode, attempt: &Attempt) -> bool {
    let is_agent = match &attempt.work {
        Work::Agent(agent) => agent.runtime != AgentRuntime::Scripted,
        // A merge train executes what agents made.
        Work::Merge(_) => true,
        Work::Noop | Work::Fail(..) | Work::Run(_) | Work::Http(_) => false,
    };
    match mode {
        Mode::Off => false,
        Mode::Auto => is_agent,
        Mode::Require => true,
    }
}
