//! A task: its kind and its keys.

use std::rc::Rc;

use super::{
    Read,
    fields::Fields,
    limits,
    words::{APPROVAL, COMPENSATE, ESTIMATE, LOOP, TASK, WAIT_FOR},
    workflow::positive,
};
use crate::{
    duration::Span,
    workflow::{
        definition::{Approval, At, Compensate, Estimate, Loop, Run, Task, Text, WaitFor},
        problem::Problems,
        tree::{Node, Tree},
    },
};

/// The keys that make a task what it is.
const KINDS: [&str; 8] =
    ["run", "agent", "uses", "sleep", "tasks", "approval", "wait_for", "decompose"];

impl Read for Task {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.count();
        let Some(mut fields) = Fields::of(tree, name, &TASK, problems) else {
            // It is there, so that who needs it is not told that it is missing.
            return Some(Self { is_broken: true, has_broken_needs: true, ..Self::default() });
        };
        let mut task = Self {
            title: fields.optional("title"),
            needs: fields.or_default("needs"),
            when: fields.optional("when"),
            join: fields.or_default("join"),
            requires: fields.or_default("requires"),
            prefers: fields.optional("prefers"),
            priority: fields.optional("priority"),
            timeout: positive(&mut fields, "timeout"),
            start_timeout: positive(&mut fields, "start_timeout"),
            heartbeat: positive(&mut fields, "heartbeat"),
            estimate: fields.optional("estimate"),
            retry: fields.optional("retry"),
            env: fields.or_default("env"),
            workspace: fields.optional("workspace"),
            outputs: fields.optional("outputs"),
            verify: fields.optional("verify"),
            on_verify_fail: fields.optional("on_verify_fail"),
            allow_empty: fields.optional("allow_empty"),
            artifacts: fields.optional("artifacts"),
            continue_on_failure: fields.or_default("continue_on_failure"),
            idempotency_key: fields.optional("idempotency_key"),
            run: fields.optional("run"),
            agent: fields.optional("agent"),
            uses: fields.optional("uses"),
            with: fields.optional("with"),
            sleep: fields.optional("sleep"),
            approval: fields.optional("approval"),
            wait_for: fields.optional("wait_for"),
            compensate: fields.optional("compensate"),
            locks: limits::locks(&mut fields),
            context: fields.optional("context"),
            budget: fields.optional("budget"),
            decompose: fields.optional("decompose"),
            paths: fields.or_default("paths"),
            tasks: fields.optional("tasks"),
            for_each: fields.optional("for_each"),
            rounds: fields.optional("loop"),
            item_name: fields.optional("as"),
            key: fields.optional("key"),
            max_parallel: fields.optional("max_parallel"),
            kinds: Vec::new(),
            is_broken: false,
            has_broken_needs: false,
        };
        check_kind(tree, name, &mut task, &mut fields);
        check_keys(tree, &task, fields.problems);
        task.has_broken_needs = has_broken_needs(tree, &task);
        fields.finish();
        task.is_broken = problems.count() > before;
        Some(task)
    }
}

/// Finds which kinds are written and refuses all but exactly one.
fn check_kind(tree: &Tree, name: &str, task: &mut Task, fields: &mut Fields<'_, '_>) {
    let Node::Map(entries) = &tree.node else { return };
    task.kinds = entries
        .iter()
        .filter(|entry| KINDS.contains(&entry.key.as_str()))
        .map(|entry| At { at: entry.at, value: entry.key.clone() })
        .collect();
    match task.kinds.as_slice() {
        [] => {
            let habit = |key: &str| TASK.habit(key).is_some_and(|meant| KINDS.contains(&meant));
            if entries.iter().any(|entry| habit(&entry.key)) {
                return;
            }
            if let Some(each) = entries.iter().find(|entry| entry.key == "for_each") {
                fields.problems.hint(
                    each.at,
                    format!("{name} has `for_each` but no `tasks`"),
                    "put what runs per item under `tasks`",
                );
                return;
            }
            fields.problems.hint(
                tree.at,
                format!("{name} has no kind"),
                "give it exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks",
            );
        }
        [_] => {}
        [first, others @ ..] => {
            for other in others {
                fields.problems.hint(
                    other.at,
                    format!("{name} has two kinds: `{}` and `{}`", first.value, other.value),
                    "a task has exactly one of run, agent, uses, decompose, sleep, approval, wait_for, tasks; split it",
                );
            }
        }
    }
}

/// Whether needs are written that were not read, or in the words of another tool.
fn has_broken_needs(tree: &Tree, task: &Task) -> bool {
    let Node::Map(entries) = &tree.node else { return true };
    entries.iter().any(|entry| match entry.key.as_str() {
        "needs" => match &entry.value.node {
            Node::List(needs) => needs.len() != task.needs.len(),
            Node::Map(_) | Node::Scalar(_) => true,
        },
        key => TASK.habit(key) == Some("needs"),
    })
}

/// Refuses keys that mean nothing for this kind of task.
fn check_keys(tree: &Tree, task: &Task, problems: &mut Problems) {
    let Node::Map(entries) = &tree.node else { return };
    let [kind] = task.kinds.as_slice() else { return };
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    for entry in entries {
        let key = entry.key.as_str();
        let hint = match (kind.value.as_str(), key) {
            ("uses", "with") => continue,
            (_, "with") => "`with` belongs to `uses`; values reach a command through `env`",
            ("tasks" | "sleep" | "approval" | "wait_for", "compensate") => {
                "only what did something can be undone: put it on a task that runs or uses something"
            }
            (
                "tasks",
                "retry" | "heartbeat" | "outputs" | "idempotency_key" | "start_timeout"
                | "estimate" | "verify" | "on_verify_fail" | "allow_empty" | "artifacts"
                | "context",
            ) => "a group has none of its own: put it on the tasks in it",
            ("tasks", "as") if has("for_each") || has("loop") => continue,
            ("tasks", "as" | "key" | "max_parallel") if !has("for_each") => {
                "it belongs to `for_each`"
            }
            ("tasks", "loop") if has("for_each") => {
                problems.hint(
                    entry.at,
                    "`loop` and `for_each` cannot stand on the same group",
                    "put a group with `loop` under the `tasks` of the one with `for_each`",
                );
                continue;
            }
            ("tasks", _) => continue,
            (_, "for_each" | "as" | "key" | "max_parallel" | "loop") => {
                "it belongs to a group: put this task under `tasks` of one"
            }
            ("sleep" | "approval" | "wait_for", "start_timeout") => {
                "it waits for no worker: `timeout` limits how long it waits"
            }
            ("decompose", "start_timeout" | "heartbeat" | "idempotency_key") => {
                "its subtasks are tasks of their own: `timeout` limits all of them"
            }
            (kind, "paths") if kind != "agent" => {
                "only what an agent changes is compared with it: put it on a task with `agent`"
            }
            (_, "on_verify_fail") if !has("verify") => "it belongs to `verify`",
            ("run", "on_verify_fail") => "a command gets no further turn: use `retry`",
            ("run", "allow_empty") => "only an agent is expected to change something: remove it",
            ("run" | "agent", _) | ("decompose", "verify" | "on_verify_fail") => continue,
            (_, "verify" | "on_verify_fail" | "allow_empty") => {
                "it makes no commit that could be judged: put it on a task with `run` or `agent`"
            }
            (_, "artifacts") => "it has no workspace: put it on a task with `run` or `agent`",
            ("sleep", "context") => "a timer puts nothing out: put it on the task after it",
            ("sleep", "estimate") => "how long it takes is known: remove it",
            ("uses", "start_timeout") if !is_builtin(task) => {
                "its session has its own: put `start_timeout` into that workflow"
            }
            (
                "sleep",
                "retry" | "timeout" | "heartbeat" | "env" | "requires" | "prefers" | "workspace"
                | "outputs" | "idempotency_key",
            ) => "a timer runs nowhere and cannot fail: remove it",
            (
                "approval" | "wait_for",
                "retry" | "heartbeat" | "env" | "requires" | "prefers" | "workspace"
                | "idempotency_key",
            ) => "what waits runs nowhere: remove it",
            ("approval", "outputs") => "its outputs are `decision`, `by` and `comment`: remove it",
            _ => continue,
        };
        problems.hint(entry.at, format!("`{key}` means nothing beside `{}`", kind.value), hint);
    }
}

/// Whether what a task uses comes with Jobshop, as far as it can be told.
fn is_builtin(task: &Task) -> bool {
    task.uses.as_ref().is_none_or(|uses| uses.value.starts_with("builtin/"))
}

impl Read for Estimate {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &ESTIMATE, problems)?;
        let optimistic: Option<At<Span>> = fields.required("optimistic");
        let likely: Option<At<Span>> = fields.required("likely");
        let pessimistic: Option<At<Span>> = fields.required("pessimistic");
        fields.finish();
        let (optimistic, likely, pessimistic) = (optimistic?, likely?, pessimistic?);
        if likely.value < optimistic.value || pessimistic.value < likely.value {
            problems.hint(
                likely.at,
                format!(
                    "{name} is not in order: {}, {}, {}",
                    optimistic.value, likely.value, pessimistic.value
                ),
                "`optimistic` is the shortest, `pessimistic` the longest",
            );
            return None;
        }
        Some(Self {
            optimistic: optimistic.value,
            likely: likely.value,
            pessimistic: pessimistic.value,
        })
    }
}

impl Read for Run {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let Node::List(items) = &tree.node else {
            let script = Text::spelled(tree, name, problems)?;
            if script.text.trim().is_empty() {
                problems.add(tree.at, format!("{name} is empty"));
                return None;
            }
            return Some(Self::Script(script));
        };
        argv(items, tree.at, name, problems).map(Self::Argv)
    }
}

pub(super) fn argv(
    items: &[Rc<Tree>],
    at: usize,
    name: &str,
    problems: &mut Problems,
) -> Option<Vec<Text>> {
    let one = format!("each of {name}");
    let argv: Vec<Text> =
        items.iter().filter_map(|item| Text::spelled(item, &one, problems)).collect();
    if items.is_empty() {
        problems.add(at, format!("{name} is an empty list: it needs a command"));
    }
    (argv.len() == items.len() && !argv.is_empty()).then_some(argv)
}

impl Read for Approval {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const QUORUM_MAX: u32 = 1_000;
        let mut fields = Fields::of(tree, name, &APPROVAL, problems)?;
        let approval = Self {
            from: fields.or_default("from"),
            quorum: fields.optional("quorum"),
            message: fields.optional("message"),
            on_reject: fields.or_default("on_reject"),
            on_timeout: fields.optional("on_timeout"),
            no_self: fields.or_default("no_self_approval"),
        };
        if let Some(quorum) =
            approval.quorum.as_ref().filter(|it| !(1..=QUORUM_MAX).contains(&it.value))
        {
            let message = format!("`quorum` must be 1 to {QUORUM_MAX}, not {}", quorum.value);
            fields.problems.add(quorum.at, message);
        }
        fields.finish();
        Some(approval)
    }
}

impl Read for WaitFor {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        if !matches!(tree.node, Node::Map(_)) {
            return Text::read(tree, name, problems).map(Self);
        }
        let mut fields = Fields::of(tree, name, &WAIT_FOR, problems)?;
        let signal = fields.required("signal");
        fields.finish();
        signal.map(Self)
    }
}

impl Read for Compensate {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.count();
        let mut fields = Fields::of(tree, name, &COMPENSATE, problems)?;
        let mut task = Task {
            run: fields.optional("run"),
            uses: fields.optional("uses"),
            with: fields.optional("with"),
            requires: fields.or_default("requires"),
            env: fields.or_default("env"),
            timeout: positive(&mut fields, "timeout"),
            retry: fields.optional("retry"),
            ..Task::default()
        };
        if fields.has("run") == fields.has("uses") {
            let hint = "give it exactly one of run and uses";
            fields.problems.hint(tree.at, format!("{name} needs a kind"), hint);
        } else if fields.has("run") && fields.has("with") {
            let hint = "values reach a command through `env`";
            fields.problems.hint(tree.at, "`with` means nothing beside `run`", hint);
        }
        fields.finish();
        task.is_broken = problems.count() > before;
        let id = At { at: tree.at, value: "compensate".to_owned() };
        (task.run.is_some() || task.uses.is_some()).then(|| Self { id, task: Box::new(task) })
    }
}

impl Read for Loop {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const ROUNDS_MAX: u32 = 1_000;
        let mut fields = Fields::of(tree, name, &LOOP, problems)?;
        let until = fields.required("until");
        let rounds: Option<At<u32>> = fields.required("max_rounds");
        if let Some(rounds) = rounds.as_ref().filter(|r| r.value == 0 || r.value > ROUNDS_MAX) {
            let message = format!("`max_rounds` must be 1 to {ROUNDS_MAX}, not {}", rounds.value);
            fields.problems.add(rounds.at, message);
        }
        fields.finish();
        Some(Self { until: until?, max_rounds: rounds?.value })
    }
}
