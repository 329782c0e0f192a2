//! The workflow language: from YAML to a checked workflow, with every problem reported at once and
//! each with its line and column. It does not read files.

mod builder;
pub mod definition;
pub mod diff;
mod inputs;
pub mod problem;
mod read;
mod scalar;
mod schema;
pub mod suggest;
mod syntax;
pub mod tree;

pub(crate) use self::inputs::{input_problem, missing_inputs};
use self::problem::Problems;
pub use self::{
    inputs::{INPUTS_BYTES_MAX, check_inputs, input_from_text},
    problem::Problem,
    schema::json_schema,
};
use crate::plan::{self, Plan};

/// What a definition may hold at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub yaml_bytes: usize,
    pub aliases: usize,
    /// Keys and values, aliases counted as what they stand for.
    pub nodes: usize,
    /// How deep maps and lists are nested.
    pub depth: usize,
    /// Tasks and groups.
    pub tasks: usize,
    /// Whether an agent may leave its command to the worker, as only built-in workflows may.
    pub default_command: bool,
    /// Whether a relative `repo` has a folder to start at, as that of `jobshop run FILE` has.
    pub relative_repo: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            yaml_bytes: 1024 * 1024,
            aliases: 200,
            nodes: 100_000,
            depth: 32,
            tasks: 10_000,
            default_command: false,
            relative_repo: true,
        }
    }
}

/// What any YAML says, within the limits of definitions; otherwise what is wrong with the text.
pub fn value(yaml: &str) -> Result<serde_json::Value, Vec<Problem>> {
    let mut problems = Problems::default();
    match builder::parse(yaml, &Limits::default(), &mut problems) {
        Some(tree) if problems.is_empty() => Ok(tree.json()),
        _ => Err(problems.finish(yaml)),
    }
}

/// Compiles a workflow; otherwise all its problems in the order of the text.
pub fn compile(yaml: &str) -> Result<Plan, Vec<Problem>> {
    compile_within(yaml, &Limits::default())
}

/// Compiles a workflow within other limits than the usual ones.
pub fn compile_within(yaml: &str, limits: &Limits) -> Result<Plan, Vec<Problem>> {
    let mut problems = Problems::default();
    let plan = builder::parse(yaml, limits, &mut problems)
        .and_then(|tree| read::workflow(&tree, &mut problems))
        .and_then(|workflow| plan::compile::compile(&workflow, yaml, limits, &mut problems));
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(problems.finish(yaml)),
    }
}

#[cfg(test)]
mod tests;
