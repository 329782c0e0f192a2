//! What this process holds: the attempts it claimed and has not yet finished. It knows no database.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jobshop_engine::id::Fence;
use tokio_util::sync::CancellationToken;

use crate::execute::Stop;

/// Why an attempt is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its fence holds no longer: whatever it returns changes nothing.
    Void,
    /// The worker is stopping: the attempt is handed back.
    Release,
    /// The session is being stopped: the attempt has a while, and what it comes to is recorded.
    Session,
}

#[derive(Debug)]
struct Running {
    started: Option<Instant>,
    noted: bool,
    stop: CancellationToken,
    /// Asks for an end; `stop` follows when there is none.
    gently: CancellationToken,
    asked: Option<Instant>,
    reason: Option<StopReason>,
}

/// The attempts of one life of a worker.
#[derive(Debug, Default)]
pub(crate) struct HeldAttempts {
    running: Mutex<HashMap<Fence, Running>>,
}

impl HeldAttempts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Fence, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn contains(&self, fence: &Fence) -> bool {
        self.lock().contains_key(fence)
    }

    /// Takes an attempt in; false when it is held already and must not be begun again.
    pub(crate) fn take(&self, fence: Fence, life: &CancellationToken) -> bool {
        let mut running = self.lock();
        if running.contains_key(&fence) {
            return false;
        }
        let stop = life.child_token();
        let gently = CancellationToken::new();
        let begun =
            Running { started: None, noted: false, stop, gently, asked: None, reason: None };
        running.insert(fence, begun);
        true
    }

    /// Marks the start of an attempt, and returns what stops it.
    pub(crate) fn start(&self, fence: &Fence) -> Stop {
        if let Some(running) = self.lock().get_mut(fence) {
            running.started = Some(Instant::now());
            return Stop { now: running.stop.clone(), gently: running.gently.clone() };
        }
        let gone = CancellationToken::new();
        gone.cancel();
        gone.into()
    }

    /// How long ago the attempt started.
    pub(crate) fn started(&self, fence: &Fence) -> Option<Duration> {
        let running = self.lock();
        Some(running.get(fence)?.started?.elapsed())
    }

    pub(crate) fn stop_reason(&self, fence: &Fence) -> Option<StopReason> {
        self.lock().get(fence)?.reason
    }

    pub(crate) fn remove(&self, fence: &Fence) {
        self.lock().remove(fence);
    }

    /// Asks attempts to stop.
    pub(crate) fn stop<'a>(&self, fences: impl IntoIterator<Item = &'a Fence>, reason: StopReason) {
        let mut running = self.lock();
        for fence in fences {
            if let Some(running) = running.get_mut(fence) {
                // A cancel overtakes a stop.
                if reason == StopReason::Void {
                    running.reason = Some(reason);
                }
                running.reason.get_or_insert(reason);
                running.stop.cancel();
            }
        }
    }

    /// Asks attempts to stop because their session is being stopped; who was asked longer ago than
    /// `grace` is stopped.
    pub(crate) fn ask<'a>(&self, fences: impl IntoIterator<Item = &'a Fence>, grace: Duration) {
        let mut running = self.lock();
        for fence in fences {
            let Some(running) = running.get_mut(fence) else { continue };
            running.reason.get_or_insert(StopReason::Session);
            running.gently.cancel();
            if running.asked.get_or_insert_with(Instant::now).elapsed() >= grace {
                running.stop.cancel();
            }
        }
    }

    /// Every attempt that has started.
    pub(crate) fn all_started(&self) -> Vec<Fence> {
        self.lock()
            .iter()
            .filter(|(_, running)| running.started.is_some())
            .map(|(fence, _)| *fence)
            .collect()
    }

    /// Attempts that have run at least `age` and whose start was not reported, with the
    /// time since; they count as reported from now on.
    pub(crate) fn to_note(&self, age: Duration) -> Vec<(Fence, Duration)> {
        self.lock()
            .iter_mut()
            .filter(|(_, running)| !running.noted)
            .filter_map(|(fence, running)| {
                let elapsed = running.started?.elapsed();
                (elapsed >= age).then(|| {
                    running.noted = true;
                    (*fence, elapsed)
                })
            })
            .collect()
    }

    /// Takes back that their starts were reported: the report did not get through.
    pub(crate) fn unnote<'a>(&self, fences: impl IntoIterator<Item = &'a Fence>) {
        let mut running = self.lock();
        for fence in fences {
            if let Some(running) = running.get_mut(fence) {
                running.noted = false;
            }
        }
    }
}
