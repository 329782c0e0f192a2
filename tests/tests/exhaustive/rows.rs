//! What is in the world of the queue: rows, leases, processes, and what was seen that may never be.

pub(crate) const TASKS: usize = 3;
/// It needs the two before it.
pub(crate) const JOIN: usize = 2;
pub(crate) const PROCESSES: usize = 2;
/// One process may begin anew, once, under another id.
pub(crate) const IDS: usize = PROCESSES + 1;
/// In ticks of the clock.
pub(crate) const LEASE: u8 = 2;
/// At so many crashes a task fails. (Three in earnest; two are tried here.)
pub(crate) const CRASH_LIMIT: u8 = 2;
pub(crate) const ATTEMPTS_MAX: u8 = 2;

/// What may go wrong in a world. All of it at once would be too much to try in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Workers freeze and begin anew, answers are lost, a person cancels.
    Workers,
    /// Postgres loses what it had not made durable, and answers.
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Is {
    Pending,
    Ready,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Is {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A row of `tasks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) is: Is,
    pub(crate) attempt: u8,
    pub(crate) worker: usize,
    pub(crate) noted: bool,
    pub(crate) crashes: u8,
    /// The attempt and worker whose outcome it keeps.
    pub(crate) last: Option<(u8, usize)>,
    /// How often an attempt ended it.
    pub(crate) ends: u8,
}

/// A row of `workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) left: u8,
    pub(crate) ended: bool,
}

impl Lease {
    pub(crate) fn is_live(self) -> bool {
        self.left > 0 && !self.ended
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Session {
    Open,
    Cancelled,
    Ended,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Db {
    pub(crate) rows: [Row; TASKS],
    /// What the join still waits for.
    pub(crate) blockers: u8,
    /// How often the join was let go.
    pub(crate) fired: u8,
    /// Tasks that have not ended.
    pub(crate) open: u8,
    pub(crate) session: Session,
    pub(crate) workers: [Option<Lease>; IDS],
}

/// An attempt in the hands of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) task: usize,
    pub(crate) attempt: u8,
    /// What its finish saw when its statement began: which tasks had ended, and the session.
    pub(crate) sent: Option<([bool; TASKS], Session)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) id: usize,
    pub(crate) held: Option<Held>,
}

/// What was seen that may never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each may be seen by itself")]
pub(crate) struct Wrongs {
    pub(crate) stolen: bool,
    pub(crate) early: bool,
    pub(crate) accepted_late: bool,
    pub(crate) claimed_late: bool,
    pub(crate) miscounted: bool,
    pub(crate) reaped_alive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) db: Db,
    /// What of it survives a crash.
    pub(crate) durable: Db,
    pub(crate) processes: [Process; PROCESSES],
    /// Whose lease the reaper has seen to be over.
    pub(crate) looked: Option<usize>,
    pub(crate) can_crash: bool,
    pub(crate) cancelled: bool,
    /// The ends of which workers were told.
    pub(crate) told: [bool; TASKS],
    pub(crate) wrongs: Wrongs,
}

impl State {
    pub(crate) fn new() -> Self {
        let row = Row {
            is: Is::Ready,
            attempt: 0,
            worker: IDS,
            noted: false,
            crashes: 0,
            last: None,
            ends: 0,
        };
        let mut rows = [row; TASKS];
        rows[JOIN].is = Is::Pending;
        let mut workers = [None; IDS];
        workers[..PROCESSES].fill(Some(Lease { left: LEASE, ended: false }));
        let (blockers, open) = (2, 3);
        let db = Db { rows, blockers, fired: 0, open, session: Session::Open, workers };
        Self {
            db,
            durable: db,
            processes: [0, 1].map(|id| Process { id, held: None }),
            looked: None,
            can_crash: true,
            cancelled: false,
            told: [false; TASKS],
            wrongs: Wrongs::default(),
        }
    }

    pub(crate) fn lease(&self, process: usize) -> Lease {
        self.db.workers[self.processes[process].id].expect("it is registered")
    }

    pub(crate) fn holds(&self, process: usize, held: Held) -> bool {
        let row = self.db.rows[held.task];
        row.is == Is::Running
            && row.attempt == held.attempt
            && row.worker == self.processes[process].id
    }
}
