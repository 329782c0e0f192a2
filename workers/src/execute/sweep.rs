//! Finds and kills processes by their environment, however they detached themselves. Looking
//! through `/proc` costs a millisecond or more, so those who ask at the same time share a look.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use tokio::{
    sync::{Mutex as AsyncMutex, oneshot},
    time::{Instant, sleep},
};

use super::proc;

/// How long killed processes may take to be gone; they hang in the kernel beyond it.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What an entry of the environment must be.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Entry(Vec<u8>),
    Beginning(Vec<u8>),
}

/// The looks of one executor; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweep {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turn: Arc<AsyncMutex<()>>,
}

#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    reply: oneshot::Sender<usize>,
}

impl Wanted {
    fn is(&self, entry: &[u8]) -> bool {
        match self {
            Self::Entry(wanted) => entry == wanted,
            Self::Beginning(wanted) => entry.starts_with(wanted),
        }
    }
}

impl Sweep {
    /// Kills what is wanted until none of it is found; false when some of it would not go.
    pub(crate) async fn kill(&self, wanted: Wanted) -> bool {
        let deadline = Instant::now() + GONE_WITHIN;
        while self.look(wanted.clone()).await != Some(0) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }

    /// How many were found and killed by a look that began after the call. Whoever gets the turn
    /// looks for all who wait.
    async fn look(&self, wanted: Wanted) -> Option<usize> {
        let (reply, mut found) = oneshot::channel();
        self.waiting().push(Waiting { wanted, reply });
        let _turn = self.turn.lock().await;
        if let Ok(found) = found.try_recv() {
            return Some(found);
        }
        let waiting = std::mem::take(&mut *self.waiting());
        tokio::task::spawn_blocking(move || look_for(waiting)).await.ok()?;
        found.try_recv().ok()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look_for(waiting: Vec<Waiting>) {
    let mut found = vec![0; waiting.len()];
    proc::visit_environments(|pid, entry| {
        for (waiting, found) in waiting.iter().zip(&mut found) {
            if waiting.wanted.is(entry) {
                let _ = kill(pid, Signal::SIGKILL);
                *found += 1;
            }
        }
    });
    for (waiting, found) in waiting.into_iter().zip(found) {
        // Whoever was dropped meanwhile does not care.
        let _ = waiting.reply.send(found);
    }
}
