//! Recovery points of an agent's turn: where its workspace and its conversation stood, and what had
//! been spent. It does not know how a runtime keeps a conversation: that is bytes here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::AgentRuntime;

/// What a conversation took so far.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema,
)]
#[serde(default)]
pub struct Spend {
    /// Those from the provider's cache are not among them.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub cost_usd: f64,
    /// Answers of the model.
    pub steps: u64,
    pub tool_calls: u64,
}

impl Spend {
    /// What counts against a limit of tokens.
    pub const fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.reasoning_tokens + self.cache_write_tokens
    }

    /// What was taken since then.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(then.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(then.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_sub(then.reasoning_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_sub(then.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_sub(then.cache_write_tokens),
            cost_usd: (self.cost_usd - then.cost_usd).max(0.0),
            steps: self.steps.saturating_sub(then.steps),
            tool_calls: self.tool_calls.saturating_sub(then.tool_calls),
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.input_tokens += more.input_tokens;
        self.output_tokens += more.output_tokens;
        self.reasoning_tokens += more.reasoning_tokens;
        self.cache_read_tokens += more.cache_read_tokens;
        self.cache_write_tokens += more.cache_write_tokens;
        self.cost_usd += more.cost_usd;
        self.steps += more.steps;
        self.tool_calls += more.tool_calls;
    }
}

/// Why a checkpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The agent finished an answer, its tools included.
    Step,
    /// The agent said that it is done.
    Turn,
    /// The turn ended otherwise: at a limit, by a failure, or told to stop.
    Stop,
}

impl Cause {
    pub const ALL: [Self; 3] = [Self::Step, Self::Turn, Self::Stop];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}

/// A state of a workspace, as commits in its repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Snapshot {
    pub commit: String,
    /// What the workspace had begun at.
    pub base: String,
}

/// A checkpoint to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    pub cause: Cause,
    pub runtime: AgentRuntime,
    /// The agent's own name of the conversation.
    pub conversation: String,
    /// What was said since the last checkpoint of the attempt, as the runtime writes it.
    pub history: Option<Vec<u8>>,
    /// `None` where the workspace is no clone.
    pub workspace: Option<Snapshot>,
    pub spend: Spend,
}

/// Where an attempt goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// The number of the checkpoint in its session.
    pub checkpoint: i32,
    pub runtime: AgentRuntime,
    pub conversation: String,
    /// The pieces in order; together everything that was said up to the checkpoint.
    pub history: Vec<Vec<u8>>,
    pub workspace: Option<Snapshot>,
    /// What had been spent by this task before; nothing when another task's conversation goes on.
    pub spend: Spend,
    /// The turn was interrupted, rather than ended.
    pub is_interrupted: bool,
}
