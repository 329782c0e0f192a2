//! What joins an agent's attempt to the rest of Jobshop while it runs: where it goes on, where its
//! checkpoints go, what it asks of people and what they say to it. It does not know that these come from a database.

use std::time::Duration;

use jobshop_engine::{
    budget,
    checkpoint::{NewCheckpoint, Resume, Snapshot, Spend},
    duration::Span,
    policy::Action,
    question::{NewQuestion, Reply},
};
use tokio::sync::{mpsc, watch};

use super::runtimes::Prompt;

/// Tokens and micro-dollars, each where it is limited.
pub(super) type Allowance = (Option<i64>, Option<i64>);

/// One attempt's link; the default one leads nowhere.
#[derive(Debug, Default)]
pub struct Link {
    /// Where the attempt goes on, if it does not begin anew.
    pub resume: Option<Resume>,
    /// Takes checkpoints.
    pub checkpoints: Option<mpsc::Sender<Keep>>,
    /// Brings what people say.
    pub messages: Option<mpsc::Receiver<Message>>,
    /// Takes what the agent hears of its model's provider.
    pub provider: Option<mpsc::UnboundedSender<Heard>>,
    /// Tokens and micro-dollars that the attempt may take, where budgets say so.
    pub allowance: (Option<i64>, Option<i64>),
    /// Takes what the agent asks; without it nobody is there to be asked.
    pub asks: Option<mpsc::Sender<Ask>>,
    /// Brings what is answered to that.
    pub answers: Option<mpsc::UnboundedReceiver<Told>>,
    /// What was answered to earlier attempts and no agent may know of, in words.
    pub untold: Vec<String>,
    /// Rules speak of these tools, `*` standing for anything.
    pub governed: Vec<String>,
    /// How long the attempt keeps its place while nothing happens but waiting for people.
    pub hold: Duration,
    /// Agents that ran in the attempt.
    agents: u32,
    /// What agents of the attempt have taken that are gone; `None` before the first.
    taken: Option<Spend>,
    /// What the conversation had taken when the agent began that is there.
    base: Spend,
}

/// What an agent hears of its model's provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Answered,
    /// It refused, for so long if it said so.
    Refused(Option<Span>),
}

/// A checkpoint to be kept.
#[derive(Debug)]
pub struct Keep {
    pub checkpoint: NewCheckpoint,
    /// What the attempt has taken so far.
    pub taken: Spend,
    /// Tells whoever waits for it that it is kept.
    pub kept: watch::Sender<bool>,
}

/// Something that somebody says to a running agent.
#[derive(Debug)]
pub struct Message {
    pub(super) from: String,
    pub(super) prompt: Prompt,
}

/// What an agent asks.
#[derive(Debug)]
pub struct Ask {
    /// The same for the same question of the same agent.
    pub request: String,
    pub question: NewQuestion,
}

/// What is answered to it.
#[derive(Debug)]
pub struct Told {
    pub request: String,
    pub reply: Reply,
}

/// What comes from outside while an agent works.
#[derive(Debug)]
pub(super) enum Word {
    Message(Message),
    Answer(Told),
}

impl Message {
    /// `key` is the same whenever the same message is delivered.
    pub fn new(from: String, key: String, at_ms: u64, text: String) -> Self {
        Self { from, prompt: Prompt { key, at_ms, text } }
    }
}

impl Link {
    /// The workspace of the turn that goes on, where it was interrupted.
    pub(super) fn interrupted(&self) -> Option<&Snapshot> {
        self.resume.as_ref().filter(|it| it.is_interrupted)?.workspace.as_ref()
    }

    /// An agent begins, where its conversation has taken that already.
    pub(super) fn begins_at(&mut self, base: Spend) {
        self.taken.get_or_insert_default();
        self.base = base;
        self.agents += 1;
    }

    /// It is gone, and its conversation has taken that by now.
    pub(super) fn ends_at(&mut self, spend: Spend) {
        self.taken = Some(self.taken_with(&spend));
        self.base = spend;
    }

    fn taken_with(&self, spend: &Spend) -> Spend {
        let mut taken = self.taken.unwrap_or_default();
        taken.add(&spend.since(&self.base));
        taken
    }

    /// What the attempt has taken, where a conversing agent ran.
    pub(crate) fn spent(&self) -> Option<Spend> {
        self.taken
    }

    /// What the attempt may still take: tokens and micro-dollars.
    pub(super) fn left(&self) -> Allowance {
        let taken = self.taken.unwrap_or_default();
        let (tokens, micros) = self.allowance;
        let left = |all: i64, taken: i64| (all - taken).max(0);
        (
            tokens.map(|all| left(all, budget::tokens(&taken))),
            micros.map(|all| left(all, budget::micros(taken.cost_usd))),
        )
    }

    /// Tells on what the agent hears of its model's provider.
    pub(super) fn hear(&self, heard: Heard) {
        if let Some(provider) = &self.provider {
            // Nobody listens any more only when the attempt is lost.
            let _ = provider.send(heard);
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.checkpoints.is_some()
    }

    /// Hands a checkpoint over. What is returned becomes true once it is kept.
    pub(super) async fn keep(&self, checkpoint: NewCheckpoint) -> watch::Receiver<bool> {
        let (kept, is_kept) = watch::channel(false);
        if let Some(checkpoints) = &self.checkpoints {
            // Whoever kept them is gone only when the attempt is lost.
            let taken = self.taken_with(&checkpoint.spend);
            let _ = checkpoints.send(Keep { checkpoint, taken, kept }).await;
        }
        is_kept
    }

    /// What this agent calls a question, told apart from those of other agents of the attempt.
    pub(super) fn request(&self, id: &str) -> String {
        format!("{}/{id}", self.agents)
    }

    /// Asks. `None` where the answer comes later, as a [`Word`].
    pub(super) async fn ask(&self, request: String, question: NewQuestion) -> Option<Reply> {
        let own = question.own;
        let nobody = || "nobody is here to be asked; go on without it".to_owned();
        let Some(asks) = &self.asks else {
            return Some(match own {
                Action::Allow => Reply::Allow,
                Action::Deny | Action::Ask => Reply::Deny { why: nobody() },
            });
        };
        match asks.send(Ask { request, question }).await {
            Ok(()) => None,
            Err(_) => Some(Reply::Deny { why: nobody() }),
        }
    }

    /// What is said next; never, once nobody can say anything. Cancel-safe.
    pub(super) async fn word(&mut self) -> Word {
        let Self { messages, answers, .. } = self;
        let message = async {
            match messages {
                Some(messages) => messages.recv().await,
                None => None,
            }
        };
        let answer = async {
            match answers {
                Some(answers) => answers.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(message) = message => Word::Message(message),
            Some(answer) = answer => Word::Answer(answer),
            else => std::future::pending().await,
        }
    }
}
