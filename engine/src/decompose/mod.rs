//! Goals broken down into subtasks: what a plan is, where it comes from, whether it can be followed,
//! and the workflow that does it. A plan is a value here; it does not know sessions or rows.

mod definition;
mod estimate;
mod expand;
mod faults;
mod gates;
mod order;
mod paths;
mod read;
mod shown;
mod templates;
pub mod words;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    definition::{Setting, deciding, following, planner_words},
    estimate::{Complexity, Hours},
    expand::{Goal, expand},
    faults::{Fault, Faults},
    gates::{Gate, OWN, Stand, Verdict, awaited},
    read::{read, schema},
    shown::{Shown, shown},
    templates::{Template, template, templates},
};

/// The name that sessions of a plan show as their workflow.
pub const NAME: &str = "builtin/decompose";
/// How often a subtask may be broken down again, at most.
pub const DEPTH_MAX: u32 = 3;
/// How many subtasks a plan may have, those in subtasks included.
pub const SUBTASKS_MAX: usize = 200;

/// A goal and what it takes to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    pub goal: String,
    /// The template it was made by, `crud@1`.
    pub template: Option<String>,
    pub subtasks: Vec<Subtask>,
}

/// A part of a goal: something that one agent does, or parts again.
#[derive(Debug, Clone, PartialEq)]
pub struct Subtask {
    pub id: String,
    pub title: String,
    /// What the agent is asked to do.
    pub prompt: String,
    pub requires: Vec<String>,
    /// What it waits for, all of it beside it.
    pub needs: Vec<Need>,
    /// The files it may change: paths, folders and patterns. None says nothing about it.
    pub paths: Vec<String>,
    pub hours: Hours,
    /// Whether it is to be broken down in its turn, once it is begun.
    pub decompose: bool,
    /// The template by which it was broken down.
    pub template: Option<String>,
    pub subtasks: Vec<Subtask>,
}

/// A dependency on another subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub task: String,
    pub kind: Dependency,
}

/// Which end of a subtask waits for which end of the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    /// It starts when the other has finished.
    #[default]
    FinishToStart,
    /// It starts when the other has started.
    StartToStart,
    /// It finishes when the other has finished.
    FinishToFinish,
    /// It finishes when the other has started.
    StartToFinish,
}

impl Dependency {
    pub const ALL: [Self; 4] =
        [Self::FinishToStart, Self::StartToStart, Self::FinishToFinish, Self::StartToFinish];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FinishToStart => "finish_to_start",
            Self::StartToStart => "start_to_start",
            Self::FinishToFinish => "finish_to_finish",
            Self::StartToFinish => "start_to_finish",
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Subtask {
    /// Whether it waits for more than the ends of others before it starts.
    pub(super) fn is_gated(&self) -> bool {
        self.needs.iter().any(|need| need.kind != Dependency::FinishToStart)
    }

    /// Whether an agent does it, rather than its parts.
    pub const fn is_leaf(&self) -> bool {
        self.subtasks.is_empty()
    }

    /// Its leaves, itself where it is one.
    fn leaves<'a>(&'a self, found: &mut Vec<&'a Self>) {
        if self.is_leaf() {
            found.push(self);
        }
        for part in &self.subtasks {
            part.leaves(found);
        }
    }
}

impl Breakdown {
    /// What agents do, in the order written.
    pub fn leaves(&self) -> Vec<&Subtask> {
        let mut found = Vec::new();
        for subtask in &self.subtasks {
            subtask.leaves(&mut found);
        }
        found
    }
}

#[cfg(test)]
mod tests;
