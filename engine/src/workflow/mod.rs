//! The workflow language: from YAML to a checked workflow, with every problem reported at once and
//! each with its line and column. It does not read files.

pub mod definition;
mod inputs;
pub mod problem;
mod read;
mod scalar;
mod schema;
pub mod suggest;
pub mod tree;

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
}

impl Default for Limits {
    fn default() -> Self {
        Self { yaml_bytes: 1024 * 1024, aliases: 200, nodes: 100_000, depth: 32, tasks: 10_000 }
    }
}

/// Compiles a workflow; otherwise all its problems in the order of the text.
pub fn compile(yaml: &str) -> Result<Plan, Vec<Problem>> {
    compile_within(yaml, &Limits::default())
}

/// Compiles a workflow within other limits than the usual ones.
pub fn compile_within(yaml: &str, limits: &Limits) -> Result<Plan, Vec<Problem>> {
    let mut problems = Problems::new();
    let plan = tree::parse(yaml, limits, &mut problems)
        .and_then(|tree| read::workflow(&tree, &mut problems))
        .and_then(|workflow| plan::compile::compile(&workflow, yaml, limits, &mut problems));
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(problems.finish(yaml)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
version: 1
name: ship-batch
inputs:
  goal: { type: string, required: true }
  repo: { type: string, default: "." }
env: { CI: "true" }
workspace: { repo: "${{ inputs.repo }}", base: main }
defaults:
  timeout: 30m
  retry: { initial: 10s }
tasks:
  plan:
    requires: [planning]
    run: ./plan.sh
    outputs: { type: object, required: [components] }
  build:
    needs: [plan]
    for_each: ${{ tasks.plan.outputs.components }}
    as: component
    key: ${{ component }}
    max_parallel: 6
    tasks:
      implement:
        agent:
          runtime: command
          command: [my-agent]
          prompt: "Implement ${{ component }} for: ${{ inputs.goal }}"
      check:
        needs: [implement]
        run: [cargo, test]
  ship:
    needs: [build]
    when: tasks.build.completed | length > 0
    run: ./land.sh
    env: { DONE: "${{ tasks.build.completed | length }}" }
outputs:
  components: ${{ tasks.plan.outputs.components }}
"#;

    #[test]
    fn the_example_of_the_language_compiles() {
        let plan = compile(EXAMPLE).unwrap();
        let ids: Vec<&str> = plan.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["plan", "build", "implement", "check", "ship"]);
        assert_eq!(plan.blocks.len(), 2);
        assert_eq!(plan.nodes[2].position, 1);
        assert_eq!(plan.nodes[4].position, 2);
        assert_eq!(plan.nodes[1].references.tasks, [plan::NodeIndex(0)]);
        assert!(plan.nodes[2].references.item);
        assert_eq!(plan.nodes[3].references.tasks, [plan::NodeIndex(0), plan::NodeIndex(2)]);
        assert_eq!(plan.nodes[4].references.lists, [plan::NodeIndex(1)]);
        assert_eq!(plan.nodes[0].retry.initial.ms, 10_000);
    }
}
