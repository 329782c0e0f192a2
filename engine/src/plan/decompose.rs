//! A goal that is broken down, as it is kept in a plan. What is rendered when the task begins stands
//! in the `with` of its [`super::Child`].

use serde::{Deserialize, Serialize};

use super::{AgentSpec, Approval};

/// How a goal becomes subtasks, and who does them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decompose {
    pub source: PlanSource,
    /// Who makes the plan, and the plans of subtasks that are broken down in their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner: Option<AgentSpec>,
    pub max_depth: u32,
    /// What people are asked before the plan is followed, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Who does the subtasks.
    pub agent: AgentSpec,
}

/// Where a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    Template,
    Planner,
    /// It is handed over.
    Given,
}

impl PlanSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Planner => "planner",
            Self::Given => "plan",
        }
    }
}
