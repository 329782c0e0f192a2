//! What three witnesses saw of a run: the clients that were answered, the files that commands wrote
//! outside Postgres, and the database. Plain values, so that a history can be made up in a test.

use std::collections::HashMap;

use jobshop_engine::{event::EventKind, session::SessionState, task::TaskState};
use uuid::Uuid;

/// Nanoseconds since 1970, by this machine's clock.
pub type Nanos = i64;

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub submissions: Vec<Submission>,
    pub cancels: Vec<Cancel>,
    pub runs: Vec<Run>,
    /// The locks that tasks hold while they run, as their commands say.
    pub locks: HashMap<(Uuid, i32), String>,
    pub feeds: Vec<Feed>,
    pub sessions: Vec<Session>,
    /// Of the schedule of the run, as minutes since 1970, with how many sessions each started.
    pub fires: Vec<(i64, usize)>,
    /// The minutes in which the schedule had to fire.
    pub minutes: Vec<i64>,
    /// Rules of the database itself that are broken.
    pub broken: Vec<String>,
}

/// A submission by a client, under a key that is the session's title too.
#[derive(Debug, Clone)]
pub struct Submission {
    pub key: String,
    /// The session, once a server has said that it exists.
    pub acknowledged: Option<Uuid>,
    /// Tasks of the definition that run no command.
    pub silent: usize,
}

/// A cancel that a server has confirmed.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub session: Uuid,
    pub at: Nanos,
}

/// A command that began, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    pub session: Uuid,
    pub seq: i32,
    pub attempt: i32,
    pub worker: Uuid,
    pub process: u32,
    pub began: Nanos,
    /// When it came to its end, and with which exit code.
    pub ended: Option<(Nanos, i32)>,
}

/// The numbers of the events that a client got over a socket, in the order in which they came.
#[derive(Debug, Clone)]
pub struct Feed {
    pub session: Uuid,
    pub seqs: Vec<i64>,
}

/// A session as the database has it.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: Uuid,
    pub title: String,
    pub state: SessionState,
    pub events: Vec<Event>,
    pub tasks: Vec<Task>,
}

/// Numbered from 1 by its place.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub kind: EventKind,
    pub task: Option<i32>,
    pub attempt: Option<i32>,
}

/// A row of a session.
#[derive(Debug, Clone)]
pub struct Task {
    pub seq: i32,
    pub parent: Option<i32>,
    pub state: TaskState,
    pub attempt: i32,
    pub worker: Option<Uuid>,
    pub failures: i32,
    pub crashes: i32,
    /// What waits for it.
    pub dependents: Vec<i32>,
    /// The process that wrote its outputs.
    pub process: Option<u32>,
}

impl History {
    /// The lines of the commands' file, matched: `b FENCE PROCESS NANOS` when one begins,
    /// `l FENCE PROCESS NAME` where it holds a lock, `e FENCE PROCESS NANOS CODE` when it comes to its
    /// end. A line that a kill cut short is left
    /// out.
    pub fn read_runs(&mut self, text: &str) {
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["b", fence, process, at] => {
                    let Some(run) = Run::begin(fence, process, at) else { continue };
                    places.insert((fence, process), self.runs.len());
                    self.runs.push(run);
                }
                ["e", fence, process, at, code] => {
                    let Some(place) = places.get(&(fence, process)) else { continue };
                    let (Ok(at), Ok(code)) = (at.parse(), code.parse()) else { continue };
                    self.runs[*place].ended = Some((at, code));
                }
                ["l", fence, process, name] => {
                    let Some(run) = Run::begin(fence, process, "0") else { continue };
                    self.locks.insert((run.session, run.seq), name.to_owned());
                }
                _ => {}
            }
        }
    }
}

impl Run {
    fn begin(fence: &str, process: &str, at: &str) -> Option<Self> {
        let mut parts = fence.split('/');
        Some(Self {
            session: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
            worker: parts.next()?.parse().ok()?,
            process: process.parse().ok()?,
            began: at.parse().ok()?,
            ended: None,
        })
    }
}
