//! Strays: attempts that this worker holds in the database and knows nothing of, because the answer
//! to the claim or finish that took them was lost. They are handed back; nobody else would ever do
//! so while the lease is renewed.

use std::{sync::Arc, time::Duration};

use jobshop_engine::{
    id::Fence,
    store::{
        self, Hint, receipts,
        transition::{Ended, Move, Mover, Takes, transition},
    },
    task::TaskState,
};

use crate::life::Life;

/// Claims of the last two seconds are not looked at: so long after a doubt it is worth to look.
const SETTLED: Duration = Duration::from_millis(2_500);

/// Looks now and then, and soon after an answer was lost, until the life ends.
pub(crate) async fn give_back(life: Arc<Life>) {
    let every = life.config.lease / 3;
    let mut wait = every;
    loop {
        tokio::select! {
            () = life.done.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = life.doubt.notified() => {
                wait = SETTLED.min(every);
                continue;
            }
        }
        wait = every;
        if let Err(error) = look(&life).await {
            tracing::warn!(%error, "what this worker holds could not be read");
        }
    }
}

async fn look(life: &Life) -> store::Result<()> {
    // Nothing is being taken meanwhile: what is not known now never will be.
    let _alone = life.taking.write().await;
    let mut held = receipts::claimed(&life.finishes, life.id).await?;
    let doubtful = life.take_doubtful();
    if !doubtful.is_empty() {
        let found = receipts::held_in(&life.finishes, life.id, &doubtful).await;
        held.extend(found.inspect_err(|_| life.doubt(&doubtful))?);
    }
    let strays: Vec<Fence> = held.into_iter().filter(|fence| !life.held.contains(fence)).collect();
    if strays.is_empty() {
        return Ok(());
    }
    tracing::warn!(strays = strays.len(), "attempts of which this worker did not know go back");
    let moves: Vec<Move> = strays.iter().map(released).collect();
    let mover = Mover::Worker { id: life.id, takes: Takes::default() };
    transition(&life.finishes, mover, &moves, &[], None).await?;
    life.store.hints.send(Hint::Ready);
    Ok(())
}

fn released(fence: &Fence) -> Move {
    let mut back = Move::new(fence.task, fence.attempt, TaskState::InProgress, TaskState::Ready);
    back.ended = Some(Ended::Released);
    back
}
