//! Two workers, three tasks (two, and one that needs both), leases on the clock of a Postgres that
//! may crash, a reaper, a person who cancels. A finish takes two steps: its statement begins and sees
//! something, then it gets its locks, acts on the newest rows and commits; its answer may be lost.

use stateright::{Model, Property};

use crate::laws::{self, Without};
use crate::rows::{
    ATTEMPTS_MAX, CRASH_LIMIT, Db, Faults, Held, IDS, Is, JOIN, LEASE, Lease, PROCESSES, Process,
    Session, State, TASKS,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Claim(usize, usize),
    Note(usize),
    Send(usize),
    Commit { process: usize, answers: bool },
    Renew(usize),
    Restart(usize),
    Tick,
    Look(usize),
    EndWorker,
    GiveBack(usize),
    Cancel,
    Sweep(usize),
    Crash,
}

/// The world, without one of its rules.
pub(crate) struct Queue(pub(crate) Without, pub(crate) Faults);

impl Queue {
    fn claim(state: &mut State, process: usize, task: usize) {
        let needs_ended = state.db.rows[..JOIN].iter().all(|row| row.is.is_final());
        state.wrongs.early |= task == JOIN && !needs_ended;
        state.wrongs.claimed_late |= state.cancelled;
        let row = &mut state.db.rows[task];
        (row.is, row.noted, row.worker) = (Is::Running, false, state.processes[process].id);
        row.attempt += 1;
        let held = Held { task, attempt: row.attempt, sent: None };
        state.processes[process].held = Some(held);
    }

    /// What a finish remembers of its beginning: nothing, where all rules are kept.
    fn seen(&self, db: &Db) -> ([bool; TASKS], Session) {
        let goes_by_it = |without| self.0 == without;
        let ended = db.rows.map(|row| goes_by_it(Without::Counters) && row.is.is_final());
        let session = if goes_by_it(Without::NewestSession) { db.session } else { Session::Open };
        (ended, session)
    }

    /// The finish has its locks.
    fn commit(&self, state: &mut State, process: usize, answers: bool) -> Option<()> {
        let held = state.processes[process].held?;
        let (seen, session_seen) = held.sent?;
        let id = state.processes[process].id;
        let (row, holds) = (state.db.rows[held.task], state.holds(process, held));
        let fence = if self.0 == Without::Fence {
            row.is == Is::Running
        } else if self.0 == Without::WorkerInFence {
            row.is == Is::Running && row.attempt == held.attempt
        } else {
            holds
        };
        let session =
            if self.0 == Without::NewestSession { session_seen } else { state.db.session };
        let is_repeated = row.last == Some((held.attempt, id));
        let mut told = is_repeated;
        if is_repeated && self.0 == Without::GuardOfRepeats && held.task != JOIN {
            Self::release(&mut state.db);
        } else if fence && session == Session::Open && state.lease(process).is_live() {
            state.wrongs.stolen |= !holds;
            state.wrongs.accepted_late |= state.cancelled;
            state.db.rows[held.task].last = Some((held.attempt, id));
            self.end(&mut state.db, held.task, Is::Completed, seen);
            told = true;
        }
        if self.0 != Without::SynchronousFinish {
            state.durable = state.db;
        }
        if answers {
            // Nothing is forgotten where Postgres does not crash.
            state.told[held.task] |= told && self.1 == Faults::Postgres;
            state.processes[process].held = None;
        } else {
            // It asks again, whatever became of it.
            state.processes[process].held = Some(Held { sent: None, ..held });
        }
        Some(())
    }

    /// An attempt ends its task, and what waited for that is told.
    fn end(&self, db: &mut Db, task: usize, to: Is, seen: [bool; TASKS]) {
        let row = &mut db.rows[task];
        (row.is, row.worker, row.noted) = (to, IDS, false);
        row.ends += 1;
        db.open -= 1;
        if task != JOIN {
            if self.0 == Without::Counters {
                db.blockers -= 1;
                if (0..JOIN).all(|it| it == task || seen[it]) {
                    Self::let_go(db);
                }
            } else {
                Self::release(db);
            }
        }
        if db.open == 0 && db.session == Session::Open {
            db.session = Session::Ended;
        }
    }

    fn release(db: &mut Db) {
        db.blockers = db.blockers.saturating_sub(1);
        if db.blockers == 0 {
            Self::let_go(db);
        }
    }

    fn let_go(db: &mut Db) {
        if db.rows[JOIN].is == Is::Pending {
            db.fired += 1;
            db.rows[JOIN].is = Is::Ready;
        }
    }

    /// The reaper gives back what a worker held that it has marked as ended.
    fn give_back(&self, state: &mut State, task: usize) {
        let row = &mut state.db.rows[task];
        if row.noted || self.0 == Without::StartNotes {
            state.wrongs.miscounted |= !row.noted;
            row.crashes += 1;
        }
        if row.crashes >= CRASH_LIMIT {
            row.last = Some((row.attempt, row.worker));
            let seen = state.db.rows.map(|row| row.is.is_final());
            self.end(&mut state.db, task, Is::Failed, seen);
        } else {
            (row.is, row.worker, row.noted) = (Is::Ready, IDS, false);
        }
    }

    fn end_worker(&self, state: &mut State) -> Option<()> {
        let lease = state.db.workers[state.looked.take()?].as_mut()?;
        if lease.left == 0 || self.0 == Without::GuardOfReaper {
            state.wrongs.reaped_alive |= lease.left > 0;
            lease.ended = true;
        }
        Some(())
    }

    fn of_process(&self, state: &State, it: usize, actions: &mut Vec<Action>) {
        let (process, lease) = (state.processes[it], state.lease(it));
        let is_open = state.db.session == Session::Open || self.0 == Without::SessionInClaim;
        match process.held {
            None if lease.is_live() && is_open => {
                let ready = (0..TASKS).filter(|task| state.db.rows[*task].is == Is::Ready);
                actions.extend(ready.map(|task| Action::Claim(it, task)));
            }
            None => {}
            Some(held) if held.sent.is_some() => {
                actions.push(Action::Commit { process: it, answers: true });
                if self.1 == Faults::Workers {
                    actions.push(Action::Commit { process: it, answers: false });
                }
            }
            Some(held) => {
                actions.push(Action::Send(it));
                let is_noted = state.db.rows[held.task].noted;
                if !is_noted && state.holds(it, held) && state.db.session == Session::Open {
                    actions.push(Action::Note(it));
                }
            }
        }
        let renews = lease.is_live() || self.0 == Without::GuardOfReaper && !lease.ended;
        if renews && lease.left < LEASE {
            actions.push(Action::Renew(it));
        }
        // The two are alike, so it is enough that one of them does.
        if self.1 == Faults::Workers && it == 0 && state.db.workers[PROCESSES].is_none() {
            actions.push(Action::Restart(it));
        }
    }
}

impl Model for Queue {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        (0..PROCESSES).for_each(|it| self.of_process(state, it, actions));
        for (id, lease) in state.db.workers.iter().enumerate() {
            let is_over = lease.is_some_and(|it| it.left == 0 && !it.ended);
            if is_over && state.looked.is_none() {
                actions.push(Action::Look(id));
            }
        }
        if state.looked.is_some() {
            actions.push(Action::EndWorker);
        }
        if state.db.workers.iter().flatten().any(|lease| lease.left > 0) {
            actions.push(Action::Tick);
        }
        for (task, row) in state.db.rows.iter().enumerate() {
            // What a session that has ended left behind is swept.
            let is_lost = row.is == Is::Running
                && state.db.session == Session::Open
                && state.db.workers[row.worker].is_some_and(|lease| lease.ended);
            if is_lost {
                actions.push(Action::GiveBack(task));
            }
            if state.db.session == Session::Cancelled && !row.is.is_final() {
                actions.push(Action::Sweep(task));
            }
        }
        if state.db.session == Session::Open && self.1 == Faults::Workers {
            actions.push(Action::Cancel);
        }
        if self.1 == Faults::Postgres && state.can_crash && state.db != state.durable {
            actions.push(Action::Crash);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Claim(process, task) => Self::claim(&mut next, process, task),
            Action::Note(it) => next.db.rows[last.processes[it].held?.task].noted = true,
            Action::Send(it) => {
                next.processes[it].held.as_mut()?.sent = Some(self.seen(&last.db));
            }
            Action::Commit { process, answers } => self.commit(&mut next, process, answers)?,
            Action::Renew(it) => next.db.workers[last.processes[it].id].as_mut()?.left = LEASE,
            Action::Restart(it) => {
                next.processes[it] = Process { id: PROCESSES, held: None };
                next.db.workers[PROCESSES] = Some(Lease { left: LEASE, ended: false });
            }
            Action::Tick => {
                let leases = next.db.workers.iter_mut().chain(&mut next.durable.workers);
                leases.flatten().for_each(|lease| lease.left = lease.left.saturating_sub(1));
            }
            Action::Look(id) => next.looked = Some(id),
            Action::EndWorker => self.end_worker(&mut next)?,
            Action::GiveBack(task) => self.give_back(&mut next, task),
            Action::Cancel => {
                next.db.session = Session::Cancelled;
                next.cancelled = true;
            }
            Action::Sweep(task) => {
                let row = &mut next.db.rows[task];
                (row.is, row.worker, row.noted) = (Is::Cancelled, IDS, false);
                next.db.open -= 1;
                next.db.blockers = next.db.blockers.saturating_sub(u8::from(task != JOIN));
            }
            Action::Crash => {
                (next.db, next.can_crash, next.looked) = (last.durable, false, None);
                let held = next.processes.iter_mut().filter_map(|it| it.held.as_mut());
                held.for_each(|held| held.sent = None);
            }
        }
        // A claim commits asynchronously; whatever commits after it makes it durable.
        let is_synchronous = matches!(
            action,
            Action::Note(_)
                | Action::Renew(_)
                | Action::Restart(_)
                | Action::EndWorker
                | Action::GiveBack(_)
                | Action::Cancel
                | Action::Sweep(_)
        );
        if is_synchronous || self.1 == Faults::Workers {
            next.durable = next.db;
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::properties()
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.db.rows.iter().all(|row| row.attempt <= ATTEMPTS_MAX)
    }
}
