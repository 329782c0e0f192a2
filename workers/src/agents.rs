//! The link of a conversing agent's attempt to the database: it goes on where another stopped, its
//! checkpoints are kept, and what people say reaches it.

use std::time::Duration;

use jobshop_engine::{
    attempt::{AgentWork, Attempt, Work},
    checkpoint::NewCheckpoint,
    id::Fence,
    outcome::Outcome,
    store::{self, Store, checkpoints, messages},
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    budgets::{self, Share},
    execute::{Keep, Link, Message},
    life::Life,
};

/// How often it is looked whether somebody said something.
const LOOK: Duration = Duration::from_millis(500);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);
const TRIES_MAX: u32 = 50;

/// The ends of a link that lead to the database.
#[derive(Debug)]
pub(crate) struct Ends {
    store: Store,
    fence: Fence,
    checkpoints: mpsc::Receiver<Keep>,
    messages: mpsc::Sender<Message>,
    /// What was said after this checkpoint may have been forgotten.
    resumed_at: Option<i32>,
}

/// The attempt's work, where it is that of an agent that converses.
fn conversing(attempt: &Attempt) -> Option<&AgentWork> {
    match &attempt.work {
        Work::Agent(work) if work.runtime.converses() => Some(work),
        Work::Agent(_)
        | Work::Noop
        | Work::Fail(..)
        | Work::Run(_)
        | Work::Merge(_)
        | Work::Http(_) => None,
    }
}

/// The link of an attempt and its other ends; nothing for whoever does not converse. `None` when the
/// life was lost before the database answered.
pub(crate) async fn link(life: &Life, attempt: &Attempt) -> Option<(Link, Option<Ends>)> {
    let Some(work) = conversing(attempt) else { return Some((Link::default(), None)) };
    let db = &life.store.pool;
    let task = attempt.fence.task;
    let mut resume = life.insist(|| async { checkpoints::resume(db, task).await }).await?;
    let resumed_at = resume.as_ref().map(|it| it.checkpoint);
    if let (None, Some(other)) = (&resume, work.continues) {
        resume = life.insist(|| async { checkpoints::conversation(db, other).await }).await?;
    }
    let (keep, kept) = mpsc::channel(1);
    let (say, said) = mpsc::channel(4);
    let mut link = Link::default();
    link.resume = resume;
    link.checkpoints = Some(keep);
    link.messages = Some(said);
    let store = life.store.clone();
    let ends = Ends { store, fence: attempt.fence, checkpoints: kept, messages: say, resumed_at };
    Some((link, Some(ends)))
}

impl Ends {
    /// Carries to and fro until the attempt lets go of its link.
    pub(crate) async fn carry(mut self, life: &Life, share: Share) {
        loop {
            tokio::select! {
                checkpoint = self.checkpoints.recv() => match checkpoint {
                    Some(Keep { checkpoint, taken, kept }) => {
                        self.keep(&checkpoint).await;
                        if share == Share::Held {
                            budgets::note(life, self.fence, &taken).await;
                        }
                        // Not everybody waits for it.
                        let _ = kept.send(());
                    }
                    None => return,
                },
                () = sleep(LOOK) => self.look().await,
            }
        }
    }

    async fn keep(&self, checkpoint: &NewCheckpoint) {
        for _ in 0..TRIES_MAX {
            match checkpoints::keep(&self.store, self.fence, checkpoint).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "cannot keep a checkpoint; trying again"),
            }
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }

    /// Messages are marked as heard once the agent's side has taken them.
    async fn look(&mut self) {
        let task = self.fence.task;
        let found = messages::waiting(&self.store.pool, task, self.resumed_at).await;
        let Ok(found) = found else { return };
        for message in found {
            let from = message.sent_by.unwrap_or_else(|| "somebody".to_owned());
            let at_ms = u64::try_from(message.at.timestamp_millis()).unwrap_or_default();
            let told = Message::new(from, message.id.to_string(), at_ms, message.text);
            // Whoever is busy is told at the next look.
            if self.messages.try_send(told).is_err() {
                return;
            }
            if let Err(error) = messages::heard(&self.store.pool, task, &[message.id]).await {
                tracing::warn!(%error, "a message may be told again");
            }
        }
        self.resumed_at = None;
    }
}

/// Whoever ended by itself is not gone on with.
pub(crate) async fn close(
    store: &Store,
    attempt: &Attempt,
    outcome: &Outcome,
) -> store::Result<()> {
    let has_ended = match outcome {
        Outcome::Succeeded(_) | Outcome::Failed { .. } => true,
        Outcome::Released | Outcome::Deferred(_) => false,
    };
    if has_ended && conversing(attempt).is_some() {
        checkpoints::close(&store.pool, attempt.fence.task).await?;
    }
    Ok(())
}
