//! A coding agent's turn: its runtime, and what belongs to which.

use std::rc::Rc;

use super::{
    Read,
    fields::Fields,
    task::argv,
    words::{AGENT, AGENT_LIMITS},
    workflow::positive,
};
use crate::{
    plan::{AgentLimits, AgentRuntime, Permission, PermissionAction},
    workflow::{
        definition::{Agent, At, Conversation, Text},
        problem::Problems,
        tree::{Node, Tree},
    },
};

impl Read for Agent {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        read(tree, name, true, problems)
    }
}

/// An agent that is told elsewhere what to do.
pub(super) fn without_prompt(
    tree: &Rc<Tree>,
    name: &str,
    problems: &mut Problems,
) -> Option<Agent> {
    read(tree, name, false, problems)
}

fn read(tree: &Rc<Tree>, name: &str, needs_prompt: bool, problems: &mut Problems) -> Option<Agent> {
    let mut fields = Fields::of(tree, name, &AGENT, problems)?;
    let runtime: Option<At<AgentRuntime>> = fields.optional("runtime");
    let prompt = fields.optional("prompt");
    let model = fields.optional("model");
    let fallback: Vec<Text> = fields.or_default("fallback");
    let script = fields.optional("script");
    let command = command(&mut fields);
    let session = fields.optional("session");
    let permissions = permissions(&mut fields);
    let limits = fields.or_default("limits");
    let is_misread = runtime.is_none() && fields.has("runtime");
    let runtime = runtime.map_or_else(AgentRuntime::default, |it| it.value);
    if !is_misread {
        check(runtime, needs_prompt, tree.at, &mut fields);
    }
    fields.finish();
    Some(Agent { runtime, prompt, model, fallback, command, script, session, permissions, limits })
}

fn command(fields: &mut Fields<'_, '_>) -> Option<Vec<Text>> {
    let tree = &fields.entry("command")?.value;
    match &tree.node {
        Node::List(items) => argv(items, tree.at, "`command`", fields.problems),
        Node::Map(_) | Node::Scalar(_) => {
            fields.problems.hint(
                tree.at,
                format!("`command` must be a list, not {}", tree.noun()),
                "write the command and its arguments as a list: [my-agent, --print]",
            );
            None
        }
    }
}

/// What a runtime needs, and what means nothing to it.
fn check(runtime: AgentRuntime, needs_prompt: bool, at: usize, fields: &mut Fields<'_, '_>) {
    if runtime == AgentRuntime::Scripted {
        if !fields.has("script") {
            fields.problems.add(at, "the runtime `scripted` needs `script`, the file it plays");
        }
    } else if needs_prompt && !fields.has("prompt") {
        let who = format!("the runtime `{}`", runtime.as_str());
        let who = if runtime == AgentRuntime::Usual { "`agent`" } else { &who };
        fields.problems.add(at, format!("{who} needs `prompt`"));
    }
    if fields.has("fallback") && !fields.has("model") {
        let at = fields.entry("fallback").map_or(at, |entry| entry.value.at);
        fields.problems.add(at, "`fallback` needs `model`, the one that comes first");
    }
    let conversing = "the runtimes `opencode` and `acp`";
    let foreign: &[(&'static str, &str)] = match runtime {
        AgentRuntime::Scripted => &[
            ("command", "`command` belongs to the runtime `command`"),
            ("session", conversing),
            ("permissions", conversing),
            ("limits", conversing),
        ],
        AgentRuntime::Command => &[
            ("script", "`script` belongs to the runtime `scripted`"),
            ("session", conversing),
            ("permissions", conversing),
            ("limits", conversing),
        ],
        AgentRuntime::Opencode | AgentRuntime::Usual => &[
            ("script", "`script` belongs to the runtime `scripted`"),
            ("command", "`command` belongs to the runtimes `command` and `acp`"),
        ],
        AgentRuntime::Acp => &[("script", "`script` belongs to the runtime `scripted`")],
    };
    for (key, why) in foreign {
        let Some(entry) = fields.entry(key) else { continue };
        let why = if *why == conversing {
            format!("`{key}` has a meaning for {conversing} only")
        } else {
            (*why).to_owned()
        };
        fields.problems.add(entry.value.at, why);
    }
}

impl Read for Conversation {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let text = Text::read(tree, name, problems)?;
        if text.text == "fresh" {
            return Some(Self::Fresh);
        }
        match text.text.strip_prefix("continue:").map(str::trim) {
            Some(task) if !task.is_empty() => {
                Some(Self::Continue(At { at: tree.at, value: task.to_owned() }))
            }
            _ => {
                problems.hint(
                    tree.at,
                    format!("{name} must be `fresh` or `continue:TASK`, not `{}`", text.text),
                    "name a task that this one needs: session: continue:implement",
                );
                None
            }
        }
    }
}

/// `bash: allow`, or `bash: { \"git *\": allow, \"*\": deny }`.
fn permissions(fields: &mut Fields<'_, '_>) -> Vec<Permission> {
    let Some(entry) = fields.entry("permissions") else { return Vec::new() };
    let Node::Map(tools) = &entry.value.node else {
        fields.problems.hint(
            entry.value.at,
            format!("`permissions` must be a map, not {}", entry.value.noun()),
            "write { bash: deny, edit: allow }",
        );
        return Vec::new();
    };
    let mut all = Vec::new();
    for tool in tools {
        let name = format!("`{}`", tool.key);
        let mut add = |pattern: &str, tree: &Rc<Tree>, name: &str, problems: &mut Problems| {
            let action = PermissionAction::read(tree, name, problems);
            all.extend(action.map(|action| Permission {
                tool: tool.key.clone(),
                pattern: pattern.to_owned(),
                action,
            }));
        };
        match &tool.value.node {
            Node::Map(patterns) => {
                for pattern in patterns {
                    let name = format!("`{}`", pattern.key);
                    add(&pattern.key, &pattern.value, &name, fields.problems);
                }
            }
            Node::Scalar(_) | Node::List(_) => add("*", &tool.value, &name, fields.problems),
        }
    }
    all
}

impl Read for AgentLimits {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &AGENT_LIMITS, problems)?;
        let steps: Option<At<u32>> = fields.optional("steps");
        let tokens: Option<At<u64>> = fields.optional("tokens");
        let usd: Option<At<f64>> = fields.optional("usd");
        let idle = positive(&mut fields, "idle");
        let output = fields.optional("output");
        let repeated_calls: Option<At<u32>> = fields.optional("repeated_calls");
        let least = [
            ("steps", steps.as_ref().map(|it| (it.at, u64::from(it.value))), 1),
            ("tokens", tokens.as_ref().map(|it| (it.at, it.value)), 1),
            ("repeated_calls", repeated_calls.as_ref().map(|it| (it.at, u64::from(it.value))), 2),
        ];
        for (key, found, least) in least {
            if let Some((at, value)) = found.filter(|(_, value)| *value < least) {
                fields.problems.add(at, format!("`{key}` must be at least {least}, not {value}"));
            }
        }
        if let Some(usd) = usd.as_ref().filter(|usd| !(usd.value > 0.0 && usd.value.is_finite())) {
            fields.problems.add(usd.at, format!("`usd` must be more than 0, not {}", usd.value));
        }
        fields.finish();
        Some(Self {
            steps: steps.map(|it| it.value),
            tokens: tokens.map(|it| it.value),
            usd: usd.map(|it| it.value),
            idle,
            output,
            repeated_calls: repeated_calls.map(|it| it.value),
        })
    }
}
