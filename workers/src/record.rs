//! What the registry of agents is told by this worker: how its attempts ended and how many it runs.
//! Told after the finish and in batches: no finish waits for it, and what is lost with the process is
//! lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jobshop_engine::{
    checkpoint::Spend,
    outcome::Outcome,
    plan::Kind,
    routing::{self, Work},
    store::agents,
};

use crate::{life::Life, queue::End};

const EVERY: Duration = Duration::from_secs(1);
/// Attempts that are kept until they are told; of more the oldest are not.
const KEPT_MAX: usize = 1_000;

/// Attempts that have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Vec<Work>>);

impl Record {
    /// Keeps what an accepted end says about the agent. Tasks that take nobody any skill say nothing.
    pub(crate) fn ended(&self, end: &End, took: Option<Duration>) {
        let node = end.info.version.plan.node(end.held.node);
        if !matches!(node.kind, Kind::Run(_) | Kind::Agent(_)) {
            return;
        }
        let Some(how) = routing::counted(&end.outcome) else { return };
        let spend = spend(&end.outcome);
        let took = took.unwrap_or_default();
        let work = Work {
            end: how,
            requires: node.requires.clone(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            tokens: spend.map(|spend| spend.tokens()),
            cost_usd: spend.map(|spend| spend.cost_usd).filter(|cost| *cost > 0.0),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(work);
        }
    }

    fn take(&self) -> Vec<Work> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What an agent's turn took, where it says so.
fn spend(outcome: &Outcome) -> Option<Spend> {
    let (Outcome::Succeeded(outputs) | Outcome::Failed { outputs, .. }) = outcome else {
        return None;
    };
    let usage = outputs.get("usage").filter(|usage| usage.is_object())?;
    serde_json::from_value(usage.clone()).ok()
}

/// Tells until the life ends, and what is left then.
pub(crate) async fn tell(life: Arc<Life>) {
    let mut told = 0;
    loop {
        tokio::select! {
            () = life.done.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        told = tell_once(&life, told).await;
    }
}

/// Tells what there is; returns how many attempts the registry thinks this worker runs.
pub(crate) async fn tell_once(life: &Life, told: i32) -> i32 {
    let works = life.record.take();
    if !works.is_empty() {
        let routing = &life.store.routing;
        match agents::fold(&life.claims, routing, &life.config.name, &works).await {
            Ok(breaker) => life.set_broken(!breaker.is_closed()),
            Err(error) => tracing::debug!(%error, "the registry was not told how attempts ended"),
        }
    }
    let running = i32::try_from(life.running()).unwrap_or(i32::MAX);
    if running == told {
        return told;
    }
    match agents::note_running(&life.claims, life.id, running).await {
        Ok(()) => running,
        Err(error) => {
            tracing::debug!(%error, "the registry was not told how much runs");
            told
        }
    }
}
