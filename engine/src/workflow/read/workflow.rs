//! The top of a workflow, its inputs, defaults and workspaces.

use std::rc::Rc;

use serde_json::Value;

use super::{
    Read,
    fields::Fields,
    words::{DEFAULTS, INPUT, RETRY, WORKFLOW, WORKSPACE},
};
use crate::{
    duration::Span,
    size::Size,
    workflow::{
        definition::{Any, At, Defaults, Entries, Input, Retry, Workflow, Workspace},
        inputs::matches_type,
        problem::Problems,
        tree::{Node, Scalar, Tree},
    },
};

/// Reads a whole workflow. `None` when there is nothing to go on with.
pub(in crate::workflow) fn workflow(tree: &Rc<Tree>, problems: &mut Problems) -> Option<Workflow> {
    let mut fields = Fields::of(tree, "a workflow", &WORKFLOW, problems)?;
    let version = version(&mut fields);
    let workflow = Workflow {
        version,
        name: fields.required("name").unwrap_or(At { at: tree.at, value: String::new() }),
        description: fields.optional("description"),
        kind: fields.or_default("type"),
        priority: fields.or_default("priority"),
        timeout: positive(&mut fields, "timeout"),
        start_timeout: positive(&mut fields, "start_timeout"),
        retention: positive(&mut fields, "retention"),
        fail_fast: fields.or_default("fail_fast"),
        inputs: fields.or_default("inputs"),
        env: fields.or_default("env"),
        workspace: fields.optional("workspace"),
        defaults: fields.or_default("defaults"),
        tasks: fields
            .required("tasks")
            .unwrap_or_else(|| At { at: tree.at, value: Entries::default() }),
        finally: fields.optional("finally"),
        finally_timeout: positive(&mut fields, "finally_timeout"),
        outputs: fields.or_default("outputs"),
        triggers: fields.or_default("triggers"),
        concurrency: fields.optional("concurrency"),
        budget: fields.optional("budget"),
    };
    check_finally(
        &workflow,
        fields.entry("finally_timeout").map(|entry| entry.at),
        fields.problems,
    );
    check_name(&workflow.name, fields.problems);
    fields.finish();
    Some(workflow)
}

fn version(fields: &mut Fields<'_, '_>) -> u32 {
    if let Some(entry) = fields.entry("version")
        && let Node::Scalar(Scalar { value: Value::String(text), .. }) = &entry.value.node
        && !fields.problems.has(entry.value.at)
    {
        let message = format!("`version` must be a number, not the text `{text}`");
        fields.problems.hint(entry.value.at, message, "write `version: 1`, without quotes");
        return 1;
    }
    let version: Option<At<u32>> = fields.required("version");
    let Some(version) = version else { return 1 };
    if version.value != 1 {
        fields.problems.hint(
            version.at,
            format!("version {} of the language is not known", version.value),
            "write `version: 1`",
        );
    }
    version.value
}

fn check_finally(workflow: &Workflow, limit: Option<usize>, problems: &mut Problems) {
    match (&workflow.finally, limit) {
        (Some(finally), _) if finally.value.0.is_empty() => {
            problems.add(finally.at, "`finally` has no tasks");
        }
        (None, Some(at)) => {
            problems.unless_known(at, "`finally_timeout` means nothing without `finally`", None);
        }
        _ => {}
    }
}

fn check_name(name: &At<String>, problems: &mut Problems) {
    let text = name.value.as_bytes();
    let is_start = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_right = text.len() <= 64
        && text.first().is_some_and(is_start)
        && text.iter().all(|b| is_start(b) || *b == b'-');
    // An empty name was reported as missing, or could not be read.
    if !is_right && !name.value.is_empty() {
        problems.hint(
            name.at,
            format!("`{}` cannot be the name of a workflow", name.value),
            "use 1 to 64 lower-case letters, digits and dashes, the first no dash",
        );
    }
}

/// A limit in time: longer than nothing.
pub(super) fn positive(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<Span> {
    let span: At<Span> = fields.optional(key)?;
    if span.value.ms == 0 {
        fields.problems.add(span.at, format!("`{key}` must be longer than nothing"));
        return None;
    }
    Some(span.value)
}

impl Read for Input {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let Some(mut fields) = Fields::of(tree, name, &INPUT, problems) else {
            // It is there, so that who refers to it is not told that it is missing.
            return Some(Self::default());
        };
        let input = Self {
            kind: fields.or_default("type"),
            required: fields.or_default("required"),
            default: fields.entry("default").map(|entry| Any(Rc::clone(&entry.value))),
            description: fields.optional("description"),
            choices: fields.optional("enum"),
        };
        input.check(name, fields.problems);
        fields.finish();
        Some(input)
    }
}

impl Input {
    fn check(&self, name: &str, problems: &mut Problems) {
        let choices = self.choices.iter().flatten().map(|choice| ("an `enum` value", choice));
        for (what, value) in self.default.iter().map(|value| ("the default", value)).chain(choices)
        {
            let json = value.0.json();
            if !matches_type(self.kind, &json) {
                problems.hint(
                    value.0.at,
                    format!(
                        "{what} of {name} is {}, its type is {}",
                        value.0.noun(),
                        self.kind.as_str()
                    ),
                    if json.is_null() {
                        "leave `default` out: an input without one is null when it is not given"
                    } else {
                        "change the type or the value"
                    },
                );
            }
        }
        if let (Some(default), Some(choices)) = (&self.default, &self.choices) {
            let json = default.0.json();
            if choices.iter().all(|choice| choice.0.json() != json) {
                problems
                    .add(default.0.at, format!("the default of {name} is not one of its `enum`"));
            }
        }
    }
}

impl Read for Defaults {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &DEFAULTS, problems)?;
        let defaults =
            Self { timeout: positive(&mut fields, "timeout"), retry: fields.optional("retry") };
        fields.finish();
        Some(defaults)
    }
}

impl Read for Retry {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const ATTEMPTS_MAX: u32 = 1_000;
        let mut fields = Fields::of(tree, name, &RETRY, problems)?;
        let attempts: Option<At<u32>> = fields.optional("max_attempts");
        let jitter: Option<At<f64>> = fields.optional("jitter");
        let initial: Option<At<Span>> = fields.optional("initial");
        let retry = Self {
            max_attempts: attempts.as_ref().and_then(|a| i32::try_from(a.value).ok()),
            backoff: fields.optional("backoff"),
            initial: initial.as_ref().map(|initial| initial.value),
            max: fields.optional("max"),
            jitter: jitter.as_ref().map(|jitter| jitter.value),
            errors: fields.optional("errors"),
        };
        if let (Some(initial), Some(max)) = (initial, retry.max)
            && initial.value > max
        {
            fields.problems.hint(
                initial.at,
                format!("`initial` is {}, longer than `max`, which is {max}", initial.value),
                "`max` is the longest delay of all",
            );
        }
        if let Some(attempts) = attempts.filter(|a| a.value == 0 || a.value > ATTEMPTS_MAX) {
            let message =
                format!("`max_attempts` must be 1 to {ATTEMPTS_MAX}, not {}", attempts.value);
            fields.problems.add(attempts.at, message);
        }
        if let Some(jitter) = jitter.filter(|jitter| !(0.0..=1.0).contains(&jitter.value)) {
            let message = format!("`jitter` must be a fraction from 0 to 1, not {}", jitter.value);
            fields.problems.add(jitter.at, message);
        }
        fields.finish();
        Some(retry)
    }
}

impl Read for Workspace {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &WORKSPACE, problems)?;
        let workspace = Self {
            repo: fields.optional("repo"),
            base: fields.optional("base"),
            from: fields.optional("from"),
            mode: fields.optional("mode"),
            setup: fields.optional("setup"),
            quota: fields.optional("quota"),
        };
        let quota: Option<&At<Size>> = workspace.quota.as_ref();
        if let Some(quota) = quota.filter(|quota| quota.value.bytes == 0) {
            fields.problems.add(quota.at, "`quota` must be more than 0");
        }
        fields.finish();
        Some(workspace)
    }
}
