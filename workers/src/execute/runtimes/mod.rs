//! Coding agents that converse: what the supervisor asks of each, and what they tell it. A runtime
//! turns an agent's own protocol into these words; it decides nothing about limits, checkpoints or
//! outcomes.

pub(super) mod acp;
mod bounds;
mod ids;
pub(super) mod opencode;
pub(super) mod refusal;
mod sse;
mod supervise;
mod transcript;

use jobshop_engine::{
    checkpoint::Spend,
    duration::Span,
    outcome::Failure,
    question::{NewQuestion, Reply},
};
use serde_json::Value;

use super::{halt::Done, still::Still};

pub(super) use self::supervise::Supervisor;

/// A conversation with an agent that runs for this attempt. Dropped, its processes are killed.
pub(super) trait AgentSession: Send {
    /// The agent's own name of the conversation.
    fn id(&self) -> &str;

    /// What it knows of a conversation that goes on.
    fn recollection(&self) -> Recollection;

    /// Says something; the same prompt said twice is heard once where the agent allows it.
    fn prompt(&mut self, prompt: &Prompt) -> impl Future<Output = Done<()>> + Send;

    /// Whether a prompt may be said while the agent still works on another.
    fn hears_while_busy(&self) -> bool;

    /// What happens next. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Done<AgentEvent>> + Send;

    /// Its processes, held still while its workspace is read.
    fn hold_still(&self) -> impl Future<Output = Done<Still>> + Send;

    /// Answers what the agent asks.
    fn reply(&mut self, ask: &str, reply: &Reply) -> impl Future<Output = Done<()>> + Send;

    /// Stops the turn, within moments.
    fn cancel(&mut self) -> impl Future<Output = Done<()>> + Send;

    /// What happened in the conversation since the last call, so that it can be taken up elsewhere.
    fn history(&mut self) -> impl Future<Output = Done<Option<Vec<u8>>>> + Send;

    /// Ends the agent. Nothing of it is alive afterwards.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// What an agent knows of what was said before it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recollection {
    /// All of it; or nothing was said.
    Everything,
    /// Nothing by itself: it has to be told this, which may be empty.
    Told(String),
}

/// Something said to an agent.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    /// The same for the same prompt, however often it is delivered.
    pub(super) key: String,
    /// When it was made, in milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) text: String,
}

/// Something an agent did.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgentEvent {
    /// It lives and works, and nothing else is worth telling.
    Alive,
    /// A piece of what it says or thinks; `part` tells pieces of one text from another.
    Text {
        part: String,
        text: String,
        is_thought: bool,
    },
    ToolStarted {
        call: String,
        tool: String,
        input: Value,
    },
    ToolFinished {
        call: String,
        tool: String,
        input: Value,
        output: String,
        ok: bool,
        ms: u64,
    },
    /// An answer of the model is complete, and this is what it took.
    Step {
        spend: Spend,
    },
    /// It wants to be allowed something, or to be told.
    Ask {
        id: String,
        question: NewQuestion,
    },
    /// The model does not answer; the agent tries again.
    Retrying {
        why: String,
    },
    /// The same, because too much was asked of its provider; how long it waits, if that is known.
    Throttled {
        why: String,
        wait: Option<Span>,
    },
    /// The turn is over because of that.
    Refused {
        why: String,
        wait: Option<Span>,
    },
    /// Output that no event shows.
    Wrote {
        bytes: u64,
    },
    TurnEnded {
        summary: Option<String>,
    },
    Failed(Failure),
}
