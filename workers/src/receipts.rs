//! Which receipts of this worker are still needed: one goes only after every task it names has left.
//! It does not delete them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jobshop_engine::id::{Fence, SessionKey};
use uuid::Uuid;

/// A receipt for hand-offs of a session is kept this long after the last of them left, so that a
/// chain of hand-offs writes one receipt and not one a step.
const IDLE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Receipt {
    tasks: usize,
    idle_since: Instant,
    /// The sessions it covers whatever their tasks, when it is one for hand-offs.
    sessions: Vec<SessionKey>,
}

/// The live receipts and the attempts they cover.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    receipts: HashMap<Uuid, Receipt>,
    by_fence: HashMap<Fence, Uuid>,
    by_session: HashMap<SessionKey, Uuid>,
}

impl Receipts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim wrote this receipt for these attempts.
    pub(crate) fn claimed(&self, id: Uuid, fences: impl Iterator<Item = Fence>) {
        let mut state = self.lock();
        let mut tasks = 0;
        for fence in fences {
            // A claim that was lost in a crash of Postgres may give the same fence again.
            if let Some(before) = state.by_fence.insert(fence, id)
                && let Some(receipt) = state.receipts.get_mut(&before)
            {
                receipt.tasks -= 1;
            }
            tasks += 1;
        }
        let receipt = Receipt { tasks, idle_since: Instant::now(), sessions: Vec::new() };
        state.receipts.insert(id, receipt);
    }

    /// A finish handed these attempts over; `id` is the receipt it wrote, if it had to write one.
    pub(crate) fn handed(&self, id: Option<Uuid>, fences: &[Fence]) {
        let mut state = self.lock();
        if let Some(id) = id {
            let mut sessions: Vec<SessionKey> =
                fences.iter().map(|fence| fence.task.session).collect();
            sessions.sort_unstable();
            sessions.dedup();
            sessions.retain(|session| !state.by_session.contains_key(session));
            for session in &sessions {
                state.by_session.insert(*session, id);
            }
            let receipt = Receipt { tasks: 0, idle_since: Instant::now(), sessions };
            state.receipts.insert(id, receipt);
        }
        for fence in fences {
            if let Some(id) = state.by_session.get(&fence.task.session).copied() {
                state.by_fence.insert(*fence, id);
                if let Some(receipt) = state.receipts.get_mut(&id) {
                    receipt.tasks += 1;
                }
            }
        }
    }

    /// Those of the sessions that a live receipt covers.
    pub(crate) fn covering(&self, sessions: &[SessionKey]) -> Vec<SessionKey> {
        let state = self.lock();
        sessions.iter().filter(|key| state.by_session.contains_key(key)).copied().collect()
    }

    /// An attempt has left this worker.
    pub(crate) fn left(&self, fence: &Fence) {
        let mut state = self.lock();
        if let Some(id) = state.by_fence.remove(fence)
            && let Some(receipt) = state.receipts.get_mut(&id)
        {
            receipt.tasks -= 1;
            receipt.idle_since = Instant::now();
        }
    }

    /// Receipts that are needed no longer. They are forgotten here; deleting them is up to the caller,
    /// which must not have a finish under way.
    pub(crate) fn take_idle(&self) -> Vec<Uuid> {
        let mut state = self.lock();
        let idle: Vec<Uuid> = state
            .receipts
            .iter()
            .filter(|(_, r)| {
                r.tasks == 0 && (r.sessions.is_empty() || r.idle_since.elapsed() >= IDLE)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &idle {
            if let Some(receipt) = state.receipts.remove(id) {
                for session in receipt.sessions {
                    state.by_session.remove(&session);
                }
            }
        }
        idle
    }
}
