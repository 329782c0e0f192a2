//! The link of an agent's attempt to the database: it goes on where another stopped, its checkpoints
//! are kept, what it asks reaches people, and what people say reaches it.

use std::{collections::HashSet, time::Duration};

use jobshop_engine::{
    attempt::{AgentWork, Attempt, Work},
    checkpoint::NewCheckpoint,
    id::{Fence, TaskKey},
    outcome::Outcome,
    plan::AgentRuntime,
    policy::Action,
    store::{
        self, Store, checkpoints, messages, policies,
        questions::{self, Asked},
    },
};
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;

use crate::{
    budgets::{self, Share},
    execute::{Ask, Keep, Link, Message, Told},
    life::Life,
};

/// An answer that is there already takes a round trip to the database: nobody gives up the place before
/// it could have come, or no attempt would ever get further.
const HOLD_MIN: Duration = Duration::from_secs(1);
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
    asks: mpsc::Receiver<Ask>,
    answers: mpsc::UnboundedSender<Told>,
    /// Asked, and not answered yet.
    asked: HashSet<Uuid>,
    /// Answers that the agent was told of, or is when it begins, and that are not noted yet.
    told: HashSet<Uuid>,
    /// What was said after this checkpoint may have been forgotten.
    resumed_at: Option<i32>,
}

/// How an attempt begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// With a link and its other ends, if it has any.
    Linked(Box<Link>, Option<Box<Ends>>),
    /// Not at all: people have not answered yet what an earlier one asked.
    Waits,
    /// The life was lost before the database answered.
    Lost,
}

impl Begun {
    /// What an attempt comes to that does not begin.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Waits => Outcome::Parked,
            Self::Linked(..) | Self::Lost => Outcome::Released,
        }
    }
}

/// The attempt's work, where it is that of an agent.
fn agent(attempt: &Attempt) -> Option<&AgentWork> {
    match &attempt.work {
        Work::Agent(work) => Some(work),
        Work::Noop | Work::Fail(..) | Work::Run(_) | Work::Merge(_) | Work::Http(_) => None,
    }
}

/// The same, where the agent converses.
fn conversing(attempt: &Attempt) -> Option<&AgentWork> {
    agent(attempt).filter(|work| work.runtime.converses())
}

/// The same, where it may ask people something.
fn asking(attempt: &Attempt) -> Option<&AgentWork> {
    agent(attempt).filter(|work| work.runtime != AgentRuntime::Command)
}

/// The link of an attempt and its other ends; nothing for whoever neither converses nor asks.
pub(crate) async fn link(life: &Life, attempt: &Attempt) -> Begun {
    match asking(attempt) {
        None => Begun::Linked(Box::default(), None),
        Some(work) => linked(life, attempt, work).await.unwrap_or(Begun::Lost),
    }
}

async fn linked(life: &Life, attempt: &Attempt, work: &AgentWork) -> Option<Begun> {
    let db = &life.store.pool;
    let task = attempt.fence.task;
    let mut link = Link::default();
    let mut resumed_at = None;
    if work.runtime.converses() {
        let mut resume = life.insist(|| async { checkpoints::resume(db, task).await }).await?;
        resumed_at = resume.as_ref().map(|it| it.checkpoint);
        if let (None, Some(other)) = (&resume, work.continues) {
            resume = life.insist(|| async { checkpoints::conversation(db, other).await }).await?;
        }
        link.resume = resume;
    }
    let standing = life.insist(|| questions::standing(db, task, resumed_at)).await?;
    if standing.open > 0 && life.insist(|| questions::park(db, task)).await? {
        return Some(Begun::Waits);
    }
    let rules = life.insist(|| policies::rules(db, task.session.tenant)).await?;
    let restricting = rules.into_iter().filter(|rule| rule.action != Action::Allow);
    link.governed = restricting.map(|rule| rule.patterns.tool).collect();
    let mut told = HashSet::new();
    if work.runtime.converses() {
        for (id, question, reply) in standing.untold {
            told.insert(id);
            link.untold.push(format!("{question}: {}", reply.in_words()));
        }
    }
    let (keep, kept) = mpsc::channel(1);
    let (say, said) = mpsc::channel(4);
    let (ask, asks) = mpsc::channel(64);
    let (answer, answers) = mpsc::unbounded_channel();
    link.checkpoints = Some(keep);
    link.messages = Some(said);
    link.asks = Some(ask);
    link.answers = Some(answers);
    link.hold = life.config.question_hold.max(HOLD_MIN);
    let ends = Ends {
        store: life.store.clone(),
        fence: attempt.fence,
        checkpoints: kept,
        messages: say,
        asks,
        answers: answer,
        asked: HashSet::new(),
        told,
        resumed_at,
    };
    Some(Begun::Linked(Box::new(link), Some(Box::new(ends))))
}

/// An attempt that ended to wait for people, once it is noted that it does. One that has nothing to wait
/// for is handed back.
pub(crate) async fn parked(life: &Life, task: TaskKey, outcome: Outcome) -> Outcome {
    if outcome != Outcome::Parked {
        return outcome;
    }
    match life.insist(|| questions::park(&life.store.pool, task)).await {
        Some(true) => Outcome::Parked,
        Some(false) | None => Outcome::Released,
    }
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
                        kept.send_replace(true);
                    }
                    None => return,
                },
                Some(ask) = self.asks.recv() => self.ask(ask).await,
                () = sleep(LOOK) => self.look().await,
            }
        }
    }

    /// Asks until the database answers: nothing that is asked is lost.
    async fn ask(&mut self, Ask { request, question }: Ask) {
        let asked = loop {
            match questions::ask(&self.store, self.fence, &request, &question).await {
                Ok(asked) => break asked,
                Err(error) => tracing::warn!(%error, "cannot ask people yet; trying again"),
            }
            sleep(PAUSE_AFTER_ERROR).await;
        };
        match asked {
            Asked::Decided(reply) => drop(self.answers.send(Told { request, reply })),
            Asked::Open(id) => drop(self.asked.insert(id)),
            // The attempt is about to be stopped.
            Asked::Lost => {}
        }
    }

    /// Hands over what was answered, and notes that the agent knows.
    async fn answer(&mut self) {
        if !self.asked.is_empty()
            && let Ok(found) = questions::answered(&self.store.pool, self.fence).await
        {
            for it in found {
                if self.asked.remove(&it.id) {
                    self.told.insert(it.id);
                    let _ = self.answers.send(Told { request: it.request, reply: it.reply });
                }
            }
        }
        for id in self.told.clone() {
            match questions::told(&self.store, self.fence, id).await {
                Ok(()) => drop(self.told.remove(&id)),
                Err(error) => tracing::warn!(%error, "an answer may be told again"),
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
        self.answer().await;
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
        Outcome::Released | Outcome::Deferred(_) | Outcome::Parked => false,
    };
    if has_ended && asking(attempt).is_some() {
        questions::close(&store.pool, attempt.fence.task).await?;
    }
    if has_ended && conversing(attempt).is_some() {
        checkpoints::close(&store.pool, attempt.fence.task).await?;
    }
    Ok(())
}
