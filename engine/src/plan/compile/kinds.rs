//! What a task does: from the keys it is written with to its kind.

use super::{decompose, outline::Draft, people};
use crate::{
    duration::Span,
    expression::template,
    plan::{
        AgentRuntime, AgentSpec, Builtin, Child, Command, ForEach, Group, Kind, Loop, References,
    },
    workflow::{
        Limits,
        definition::{Agent, Any, At, Entries, Run, Task, Text},
        problem::Problems,
        suggest,
        tree::{Node, Scalar},
    },
};

/// The kind of a task. `None` when it has none that can be read; the problem is kept then.
pub(super) fn kind(
    draft: &Draft<'_>,
    source: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Kind> {
    let task = draft.task;
    if let Some(run) = &task.run {
        return Some(Kind::Run(command(&run.value, source, problems)));
    }
    if let Some(agent) = &task.agent {
        if !task.is_broken {
            check_command(agent, limits, problems);
        }
        return Some(Kind::Agent(agent_spec(&agent.value, source, problems)));
    }
    if let Some(goal) = &task.decompose {
        return Some(Kind::Session(decompose::kind(goal, task, source, limits, problems)));
    }
    if let Some(uses) = &task.uses {
        if let Some((name, version)) = workflow_name(&uses.value) {
            refuse_meaningless(task, problems);
            let with = task.with.iter().flat_map(|with| &with.0);
            let with = with.filter(|(key, _)| !key.value.starts_with("x-"));
            let with = with.map(|(key, value)| (key.value.clone(), value.0.json())).collect();
            let name = name.to_owned();
            return Some(Kind::Session(Child { name, version, with, decompose: None }));
        }
        return builtin(uses, task.with.as_ref(), problems).map(Kind::Builtin);
    }
    if let Some(sleep) = &task.sleep {
        return Some(Kind::Sleep(self::sleep(&sleep.0, problems)));
    }
    if let Some(approval) = &task.approval {
        return Some(Kind::Approval(people::approval(approval, task, problems)));
    }
    if let Some(signal) = &task.wait_for {
        return Some(Kind::WaitFor(people::signal(&signal.0, problems)));
    }
    task.tasks.as_ref().map(|tasks| {
        if tasks.value.0.is_empty() {
            problems.add(tasks.at, format!("the group `{}` has no tasks", draft.id.value));
        }
        Kind::Group(group(draft, problems))
    })
}

/// The names of a task's outputs, where all of them are known.
pub(super) fn known_outputs(task: &Task) -> Option<Vec<String>> {
    let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    if task.is_broken {
        return None;
    }
    if task.sleep.is_some() {
        return Some(Vec::new());
    }
    if let Some(uses) = &task.uses {
        return match uses.value.as_str() {
            "builtin/noop" | "builtin/fail" => Some(Vec::new()),
            "builtin/http" => list(&["status", "headers", "body", "json"]),
            "builtin/merge" => list(&["branch", "commit", "base", "merged", "conflicts"]),
            "builtin/merge-train" => {
                list(&["branch", "commit", "base", "merged", "conflicts", "broken", "checks"])
            }
            _ => None,
        };
    }
    if task.approval.is_some() {
        return list(&["decision", "by", "comment"]);
    }
    if task.decompose.is_some() {
        return list(&["plan", "tasks", "commit", "base", "branch"]);
    }
    let schema = &task.outputs.as_ref()?.0;
    if (task.run.is_none() && task.wait_for.is_none())
        || schema.get("additionalProperties")?.as_bool()?
    {
        return None;
    }
    if schema.get("patternProperties").is_some() {
        return None;
    }
    let properties = schema.get("properties")?.as_object()?;
    Some(properties.keys().cloned().chain(["exit_code".to_owned()]).collect())
}

pub(super) fn command(run: &Run, source: &str, problems: &mut Problems) -> Command {
    match run {
        Run::Script(script) => {
            refuse_expressions(script, "a script", source, problems);
            Command::Script(script.text.clone())
        }
        Run::Argv(argv) => Command::Argv(plain_argv(argv, source, problems)),
    }
}

fn plain_argv(argv: &[Text], source: &str, problems: &mut Problems) -> Vec<String> {
    for text in argv {
        refuse_expressions(text, "a command", source, problems);
    }
    argv.iter().map(|text| text.text.clone()).collect()
}

/// Nothing is ever interpolated into a shell.
fn refuse_expressions(text: &Text, what: &str, source: &str, problems: &mut Problems) {
    if let Some(at) = text.text.find("${{") {
        let inside = text.text[at + 3..].split("}}").next().unwrap_or_default().trim();
        problems.hint(
            super::templates::locate(text, source, at + 3).saturating_sub(3),
            format!("`${{{{ }}}}` cannot stand in {what}"),
            format!(
                "pass the value through the environment: env: {{ VALUE: \"${{{{ {inside} }}}}\" }} and \"$VALUE\" in the script"
            ),
        );
    }
}

/// Refuses an agent that is a command, without one.
pub(super) fn check_command(agent: &At<Agent>, limits: &Limits, problems: &mut Problems) {
    let has_command = agent.value.command.is_some() || limits.default_command;
    if agent.value.runtime == AgentRuntime::Command && !has_command {
        problems.hint(
            agent.at,
            "the runtime `command` needs `command`, the agent's command line",
            "write the command and its arguments as a list: [my-agent, --print]",
        );
    }
}

pub(super) fn agent_spec(agent: &Agent, source: &str, problems: &mut Problems) -> AgentSpec {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.text.clone());
    AgentSpec {
        runtime: agent.runtime,
        prompt: text(&agent.prompt),
        model: text(&agent.model),
        fallback: agent.fallback.iter().map(|model| model.text.clone()).collect(),
        command: agent.command.as_ref().map(|argv| plain_argv(argv, source, problems)),
        script: text(&agent.script),
        continues: None,
        permissions: agent.permissions.clone(),
        limits: agent.limits,
    }
}

const BUILTINS: [&str; 5] =
    ["builtin/noop", "builtin/fail", "builtin/merge", "builtin/merge-train", "builtin/http"];

fn builtin(
    uses: &At<String>,
    with: Option<&Entries<Any>>,
    problems: &mut Problems,
) -> Option<Builtin> {
    let name = uses.value.as_str();
    if !BUILTINS.contains(&name) {
        let (message, hint) = unknown_builtin(name);
        problems.maybe(uses.at, message, hint);
        return None;
    }
    let known: &[&str] = match name {
        "builtin/fail" => &["message"],
        "builtin/merge" => &["into"],
        "builtin/merge-train" => &["into", "check"],
        "builtin/http" => &["url", "method", "headers", "body", "expect", "timeout"],
        _ => &[],
    };
    for (key, _) in with.iter().flat_map(|with| &with.0) {
        if !known.contains(&key.value.as_str()) && !key.value.starts_with("x-") {
            let hint =
                suggest::did_you_mean(&key.value, known.iter().copied()).unwrap_or_else(|| {
                    if known.is_empty() {
                        "it takes nothing".to_owned()
                    } else {
                        format!("it takes {}", known.join(", "))
                    }
                });
            problems.hint(key.at, format!("`{name}` takes no `{}`", key.value), hint);
        }
    }
    if name == "builtin/http" {
        return super::http::spec(uses.at, with, problems).map(Builtin::Http);
    }
    let mut text = |key: &str| {
        let (_, value) = with?.0.iter().find(|(name, _)| name.value == key)?;
        let Node::Scalar(Scalar { value: serde_json::Value::String(text), .. }) = &value.0.node
        else {
            problems.add(value.0.at, format!("`{key}` must be text, not {}", value.0.noun()));
            return None;
        };
        Some(text.clone())
    };
    Some(match name {
        "builtin/noop" => Builtin::Noop,
        "builtin/fail" => Builtin::Fail { message: text("message") },
        "builtin/merge" => Builtin::Merge { into: text("into"), check: Vec::new() },
        _ => {
            let into = text("into");
            Builtin::Merge { into, check: super::merge_train::check(uses.at, with, problems)? }
        }
    })
}

/// The name and version of another workflow. What is called as a builtin, without its first part, is
/// more likely meant to be one.
fn workflow_name(uses: &str) -> Option<(&str, Option<i32>)> {
    let (name, version) = match uses.split_once('@') {
        Some((name, version)) => (name, Some(version.parse().ok().filter(|v| *v > 0)?)),
        None => (uses, None),
    };
    let is_start = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_name = (1..=64).contains(&name.len())
        && name.as_bytes().first().is_some_and(is_start)
        && name.bytes().all(|b| is_start(&b) || b == b'-');
    let is_builtin = BUILTINS.iter().any(|builtin| builtin.strip_prefix("builtin/") == Some(name));
    (is_name && !(is_builtin && version.is_none())).then_some((name, version))
}

/// Another workflow brings its own environment, and its tasks their own workspaces.
fn refuse_meaningless(task: &Task, problems: &mut Problems) {
    if let Some((name, _)) = task.env.0.first() {
        problems.hint(
            name.at,
            "`env` means nothing to another workflow",
            "hand values over in `with`, as its inputs",
        );
    }
}

fn unknown_builtin(name: &str) -> (String, Option<String>) {
    let hint = suggest::did_you_mean(name, BUILTINS).or_else(|| {
        BUILTINS
            .iter()
            .find(|b| b.ends_with(&format!("/{name}")))
            .map(|b| format!("did you mean `{b}`?"))
    });
    match hint {
        Some(hint) => (format!("there is no `{name}`"), Some(hint)),
        None => (
            format!("there is no `{name}`"),
            Some(format!(
                "there are {}; another workflow is NAME or NAME@VERSION",
                BUILTINS.join(", ")
            )),
        ),
    }
}

fn sleep(text: &Text, problems: &mut Problems) -> String {
    if !template::has_expression(&text.text) && text.text.trim().parse::<Span>().is_err() {
        problems.hint(
            text.raw.start,
            format!("`sleep` must be a duration, not `{}`", text.text),
            "write a number with its unit: 250ms, 10s, 5m, 2h, 1d",
        );
    }
    text.text.trim().to_owned()
}

fn group(draft: &Draft<'_>, problems: &mut Problems) -> Group {
    let task = draft.task;
    let rounds = draft.items.filter(|_| draft.is_loop()).and_then(|block| {
        let rounds = &task.rounds.as_ref()?.value;
        Some(Loop {
            until: rounds.until.0.text.trim().to_owned(),
            max_rounds: rounds.max_rounds,
            name: draft.item_name().to_owned(),
            block,
            references: References::default(),
        })
    });
    let for_each = draft.items.and_then(|block| {
        let items = task.for_each.as_ref()?;
        check_items(items, problems);
        if let Some(limit) = task.max_parallel.as_ref().filter(|limit| limit.value == 0) {
            problems.add(limit.at, "`max_parallel` must be at least 1");
        }
        Some(ForEach {
            items: items.0.json(),
            name: draft.item_name().to_owned(),
            key: task.key.as_ref().map(|key| key.text.clone()),
            max_parallel: task.max_parallel.as_ref().map(|limit| limit.value),
            block,
            lock_references: References::default(),
        })
    });
    Group { children: draft.children.clone(), for_each, rounds }
}

/// A `for_each` is a list, or one expression that gives a list.
fn check_items(items: &Any, problems: &mut Problems) {
    let hint = "write a list, or one expression that gives a list: ${{ inputs.files }}";
    let tree = &items.0;
    match &tree.node {
        Node::List(_) => {}
        Node::Scalar(scalar) if scalar.value.is_string() => {
            let is_lone = template::parts(&scalar.text)
                .map_or(true, |parts| template::lone(&parts).is_some());
            if !is_lone {
                problems.hint(
                    tree.at,
                    format!("`for_each` must be a list, not the text `{}`", scalar.text),
                    hint,
                );
            }
        }
        Node::Map(_) if problems.has(tree.at) => {}
        Node::Scalar(_) | Node::Map(_) => {
            problems.hint(tree.at, format!("`for_each` must be a list, not {}", tree.noun()), hint);
        }
    }
}
