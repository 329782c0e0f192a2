//! Budgets as they are written.

use schemars::JsonSchema;

use super::At;
use crate::{
    budget::{Caps, OnExceed, micros},
    duration::Span,
};

/// What a workflow, a group or a task may take altogether. At least one of `tokens`, `usd` and
/// `wall_time` is said.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Budget", deny_unknown_fields)]
pub struct Budget {
    #[schemars(flatten)]
    pub limits: Amounts,
    /// What happens when the next task does not fit in any more.
    #[schemars(default)]
    pub on_exceed: OnExceed,
    /// What an attempt of a task in it puts aside that says nothing itself; a tenth unless given.
    #[schemars(default)]
    pub reserve: Option<Reserve>,
}

/// Amounts of what a budget is about.
#[derive(Debug, Clone, Default, JsonSchema)]
pub struct Amounts {
    /// Tokens read and written, those from the provider's cache not counted.
    #[schemars(with = "Option<u64>", range(min = 1), default)]
    pub tokens: Option<At<u64>>,
    /// Money, by the operator's prices, else as the agent reckons it.
    #[schemars(with = "Option<f64>", default)]
    pub usd: Option<At<f64>>,
    /// The time that attempts run, all together.
    #[schemars(with = "Option<Span>", default)]
    pub wall_time: Option<At<Span>>,
}

impl Amounts {
    /// Each by its key, with its place, as it is counted.
    pub fn each(&self) -> [(&'static str, Option<(usize, i64)>); 3] {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let tokens = self.tokens.as_ref().map(|it| (it.at, whole(it.value)));
        let usd = self.usd.as_ref().map(|it| (it.at, micros(it.value)));
        let wall_time = self.wall_time.as_ref().map(|it| (it.at, whole(it.value.ms)));
        [("tokens", tokens), ("usd", usd), ("wall_time", wall_time)]
    }

    pub fn caps(&self) -> Caps {
        self.each().map(|(_, amount)| amount.map(|(_, amount)| amount))
    }
}

/// What an attempt puts aside.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Reserve", deny_unknown_fields)]
pub struct Reserve {
    #[schemars(flatten)]
    pub amounts: Amounts,
}
