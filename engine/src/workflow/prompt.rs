//! `builtin/prompt`: one prompt as a workflow.

use std::fmt::Write;

use super::{Limits, Problem, compile_within};
use crate::plan::{AgentRuntime, Plan};

/// What `jobshop prompt` is asked for. The prompt and the repository are inputs of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub runtime: AgentRuntime,
    /// Whether the agent works in a clone of the input `repo`.
    pub has_repo: bool,
    /// With the runtime `command`: without one the worker's `JOBSHOP_AGENT_COMMAND` is taken.
    pub command: Option<Vec<String>>,
    /// With the runtime `scripted`: the file that is played.
    pub script: Option<String>,
    /// A shell script that must succeed on the agent's commit.
    pub verify: Option<String>,
}

/// The text of the workflow `builtin/prompt` and its plan. Its inputs are `prompt` and, with a
/// repository, `repo`.
pub fn prompt(request: &Prompt) -> Result<(String, Plan), Vec<Problem>> {
    let yaml = text(request);
    let limits = Limits { default_command: true, ..Limits::default() };
    let mut plan = compile_within(&yaml, &limits)?;
    "builtin/prompt".clone_into(&mut plan.name);
    Ok((yaml, plan))
}

fn text(request: &Prompt) -> String {
    // JSON is YAML: texts are written as JSON, whatever is in them.
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let mut yaml =
        "version: 1\nname: prompt\ndescription: One prompt for one coding agent.\n".to_owned();
    yaml.push_str("inputs:\n  prompt: { type: string, required: true }\n");
    if request.has_repo {
        yaml.push_str("  repo: { type: string, required: true }\n");
        yaml.push_str("workspace: { repo: \"${{ inputs.repo }}\" }\n");
    }
    yaml.push_str("tasks:\n  agent:\n    agent:\n");
    match request.runtime {
        AgentRuntime::Command => yaml.push_str("      runtime: command\n"),
        AgentRuntime::Scripted => yaml.push_str("      runtime: scripted\n"),
    }
    if let Some(command) = &request.command {
        let argv: Vec<String> = command.iter().map(|text| json(text)).collect();
        let _ = writeln!(yaml, "      command: [{}]", argv.join(", "));
    }
    if let Some(script) = &request.script {
        let _ = writeln!(yaml, "      script: {}", json(script));
    }
    yaml.push_str("      prompt: ${{ inputs.prompt }}\n");
    if let Some(verify) = &request.verify {
        let _ = writeln!(yaml, "  verify:\n    needs: [agent]\n    run: {}", json(verify));
    }
    if request.has_repo {
        yaml.push_str("outputs:\n  commit: ${{ tasks.agent.outputs.commit | default(none) }}\n");
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prompt_is_a_workflow_like_any_other() {
        let request = Prompt {
            runtime: AgentRuntime::Command,
            has_repo: true,
            command: None,
            script: None,
            verify: Some("cargo test\necho \"done: {}\"".to_owned()),
        };
        let (yaml, plan) = prompt(&request).unwrap();
        insta::assert_snapshot!(yaml, @r#"
        version: 1
        name: prompt
        description: One prompt for one coding agent.
        inputs:
          prompt: { type: string, required: true }
          repo: { type: string, required: true }
        workspace: { repo: "${{ inputs.repo }}" }
        tasks:
          agent:
            agent:
              runtime: command
              prompt: ${{ inputs.prompt }}
          verify:
            needs: [agent]
            run: "cargo test\necho \"done: {}\""
        outputs:
          commit: ${{ tasks.agent.outputs.commit | default(none) }}
        "#);
        assert_eq!(plan.name, "builtin/prompt");
        assert_eq!(plan.nodes[1].references.tasks, [crate::plan::NodeIndex(0)]);
        let refused = prompt(&Prompt { command: Some(Vec::new()), ..request });
        assert_eq!(
            refused.unwrap_err()[0].message,
            "`command` is an empty list: it needs a command"
        );
    }
}
