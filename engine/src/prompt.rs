//! The built-in workflow `builtin/prompt`: one agent task, whose commit is verified where that is asked
//! for. It writes the definition and compiles it like any other; it does not know where an
//! agent comes from when none is named.

use serde_json::{Value, json};

use crate::{
    plan::{AgentRuntime, Plan},
    workflow::{Limits, Problem, compile_within},
};

/// The name that sessions of a prompt show as their workflow.
pub const NAME: &str = "builtin/prompt";

/// Who does what a prompt asks for, where, and how the result is checked. The prompt itself is an
/// input, so that prompts share one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub runtime: AgentRuntime,
    pub command: Option<Vec<String>>,
    pub model: Option<String>,
    /// Whether it works on a clone of the input `repo`.
    pub in_repo: bool,
    /// A script that has to succeed in the agent's result.
    pub verify: Option<String>,
}

/// The definition, which is JSON and so YAML too, and its plan.
pub fn definition(agent: &Agent) -> Result<(String, Plan), Vec<Problem>> {
    let mut task = json!({
        "title": "Do what the prompt says",
        "agent": { "runtime": agent.runtime, "prompt": "${{ inputs.prompt }}" },
    });
    if let Some(command) = &agent.command {
        task["agent"]["command"] = json!(command);
    }
    if let Some(model) = &agent.model {
        task["agent"]["model"] = json!(model);
    }
    let mut definition = json!({
        "version": 1,
        "name": "prompt",
        "description": "One agent does what a prompt says.",
        "inputs": { "prompt": { "type": "string", "required": true } },
        "tasks": { "agent": task },
    });
    if agent.in_repo {
        definition["inputs"]["repo"] = json!({ "type": "string", "required": true });
        definition["workspace"] = json!({ "repo": "${{ inputs.repo }}" });
    }
    if let Some(script) = &agent.verify {
        definition["tasks"]["agent"]["verify"] = json!(script);
    }
    definition["outputs"] = outputs();
    let text = format!("{definition:#}\n");
    // Without a command the worker's JOBSHOP_AGENT_COMMAND is taken.
    let limits = Limits { default_command: true, ..Limits::default() };
    let mut plan = compile_within(&text, &limits)?;
    NAME.clone_into(&mut plan.name);
    Ok((text, plan))
}

fn outputs() -> Value {
    json!({ "result": "${{ tasks.agent.outputs }}" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_compiles() {
        for in_repo in [false, true] {
            for (verify, command) in [
                (None, None),
                (
                    Some("cargo test".to_owned()),
                    Some(vec!["agent".to_owned(), "\"it\": #".to_owned()]),
                ),
            ] {
                let agent = Agent {
                    runtime: AgentRuntime::Command,
                    command,
                    model: verify.clone(),
                    in_repo,
                    verify: verify.clone(),
                };
                let (_, plan) = definition(&agent).unwrap();
                assert_eq!(plan.name, NAME);
                assert_eq!(plan.nodes.len(), 1);
                assert_eq!(plan.nodes[0].expected.verify.is_some(), verify.is_some());
                assert_eq!(plan.inputs.len(), 1 + usize::from(in_repo));
            }
        }
    }

    #[test]
    fn a_check_with_an_expression_in_it_is_refused() {
        let verify = Some("echo ${{ inputs.prompt }}".to_owned());
        let (runtime, model) = (AgentRuntime::Command, None);
        let agent = Agent { runtime, command: None, model, in_repo: false, verify };
        assert!(definition(&agent).is_err());
    }
}
