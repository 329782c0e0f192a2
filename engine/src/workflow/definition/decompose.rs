//! A goal that is broken down, as it is written.

use schemars::JsonSchema;

use super::{Agent, Any, Approval, At, Text};

/// A goal that is broken down into subtasks, by a template, by a planner or by a plan that is there.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Decompose", deny_unknown_fields)]
pub struct Decompose {
    /// What is to be reached. May hold `${{ }}`.
    pub goal: Text,
    /// The template that makes the plan: its name, or NAME@VERSION. May hold `${{ }}`.
    #[schemars(default)]
    pub template: Option<Text>,
    /// The agent that makes the plan; without `prompt` it is asked in the usual words. Beside `plan`
    /// it makes the plans of subtasks that say `decompose: true`.
    #[schemars(default)]
    pub planner: Option<At<Agent>>,
    /// The plan itself: a map with `subtasks`, or an expression that gives one.
    #[schemars(default)]
    pub plan: Option<Any>,
    /// How deep subtasks may be broken down in their turn; 1 is not at all, 3 unless given.
    #[schemars(range(min = 1, max = 3), default)]
    pub max_depth: Option<At<u32>>,
    /// Whether people are asked before the plan is followed, and who. They may answer with another
    /// plan.
    #[schemars(with = "Option<Asking>", default)]
    pub approve: Option<At<Approve>>,
    /// The agent that does the subtasks; the planner's unless given, or what the worker has.
    #[schemars(default)]
    pub agent: Option<At<Agent>>,
}

/// Whether people are asked, and who.
#[derive(Debug, Default)]
pub struct Approve {
    /// `None` is nobody.
    pub asked: Option<At<Approval>>,
}

/// How [`Approve`] is written.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape of what is read into an approval")]
enum Asking {
    Plainly(bool),
    So(Approval),
}
