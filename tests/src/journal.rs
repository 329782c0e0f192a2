//! What commands of tasks did, written by themselves into a file outside Postgres: the witness of
//! what really ran, whatever the database says. It knows the fence as commands see it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use jobshop_engine::task::TaskState;
use uuid::Uuid;

use crate::stage::Task;

/// A file to which commands append a line when they begin.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

/// That a command began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    pub session: Uuid,
    pub seq: i32,
    pub attempt: i32,
    pub worker: Uuid,
    /// A fence whose claim was lost in a crash may be executed again; processes have numbers of
    /// their own.
    pub process: u32,
}

impl Journal {
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }

    /// What a script has to do first: it writes its line, and leaves the number of its process in
    /// its outputs, so that what was recorded can be told from what was only done.
    pub fn entry(&self) -> String {
        let path = self.path.display();
        format!("echo $JOBSHOP_FENCE $$ >> {path}; echo process:=$$ >> $JOBSHOP_OUTPUT")
    }

    /// All lines so far, in order.
    pub fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(|line| Line::parse(line).expect("a line that a command wrote")).collect()
    }

    /// Panics unless every task of these completed, and what each recorded is what one command did
    /// under the very fence that was accepted.
    pub fn check(&self, tasks: &[Task]) {
        let lines = self.lines();
        let all: HashSet<Line> = lines.iter().copied().collect();
        assert_eq!(all.len(), lines.len(), "a process wrote its line twice");
        for task in tasks {
            assert_eq!(task.state(), TaskState::Completed, "{task:?}");
            let Some(process) = task.output.as_ref().and_then(|output| output["process"].as_u64())
            else {
                continue;
            };
            let is_witnessed = lines.iter().any(|line| {
                u64::from(line.process) == process
                    && (line.seq, line.attempt) == (task.seq, task.attempt)
                    && Some(line.worker) == task.worker
            });
            assert!(is_witnessed, "nothing wrote a line for {task:?}");
        }
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (fence, process) = line.split_once(' ')?;
        let mut parts = fence.split('/');
        Some(Self {
            session: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
            worker: parts.next()?.parse().ok()?,
            process: process.parse().ok()?,
        })
    }
}
