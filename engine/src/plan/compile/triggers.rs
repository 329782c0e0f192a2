//! Schedules of a workflow: their ids, and what they are given as inputs. Their times were checked
//! when they were read.

use std::collections::HashSet;

use chrono_tz::Tz;
use serde_json::Map;

use crate::{
    expression::template,
    plan::{Input, Trigger},
    schedule::Rule,
    workflow::{
        definition::{self, Any, At, Entries, Workflow},
        input_problem, missing_inputs,
        problem::Problems,
        tree::{Node, Tree},
    },
};

/// The schedules; a session without anybody to ask needs every required input.
pub(super) fn schedules(
    workflow: &Workflow,
    inputs: &[(String, Input)],
    problems: &mut Problems,
) -> Vec<Trigger> {
    let mut known = HashSet::new();
    let mut all = Vec::new();
    for At { at, value: trigger } in &workflow.triggers.schedule {
        if !known.insert(trigger.id.value.as_str()) {
            let message = format!("there are two schedules `{}`", trigger.id.value);
            problems.hint(trigger.id.at, message, "give every schedule an id of its own");
        }
        check_inputs(*at, trigger.with.as_ref(), inputs, problems);
        let rule = rule(trigger);
        check_times(trigger, &rule, problems);
        all.push(Trigger { name: trigger.id.value.clone(), rule });
    }
    all
}

fn rule(trigger: &definition::Trigger) -> Rule {
    let with = trigger.with.iter().flat_map(|with| &with.value.0);
    let with: Map<_, _> = with.map(|(name, value)| (name.value.clone(), value.0.json())).collect();
    Rule {
        with,
        overlap: trigger.overlap,
        catch_up: trigger.catch_up,
        catch_up_window: trigger.catch_up_window.unwrap_or(Rule::CATCH_UP_WINDOW),
        jitter: trigger.jitter,
        pause_after: trigger.pause_after,
        max_runs: trigger.max_runs,
        start: trigger.start.as_ref().map(|start| start.value),
        until: trigger.until.as_ref().map(|until| until.value),
        ..Rule::new(trigger.cron.clone(), trigger.timezone.map_or(Tz::UTC, |zone| zone.0))
    }
}

fn check_inputs(
    at: usize,
    with: Option<&At<Entries<Any>>>,
    inputs: &[(String, Input)],
    problems: &mut Problems,
) {
    let given = || with.iter().flat_map(|with| &with.value.0);
    for (name, value) in given() {
        if let Some(place) = template_in(&value.0) {
            let cure = "write the value itself; `${{ }}` means nothing before a session starts";
            problems.hint(place, "a schedule has no expressions", cure);
        } else if let Some(problem) = input_problem(inputs, &name.value, &value.0.json()) {
            problems.add(name.at, problem);
        }
    }
    let missing = missing_inputs(inputs, |name| {
        given().any(|(given, value)| given.value == name && !value.0.is_null())
    });
    for name in missing {
        let at = with.map_or(at, |with| with.at);
        let message = format!("the input `{name}` is required, and this schedule does not give it");
        problems.hint(at, message, format!("write with: {{ {name}: … }}"));
    }
}

/// Where a value holds `${{ }}`.
fn template_in(tree: &Tree) -> Option<usize> {
    match &tree.node {
        Node::Scalar(scalar) => template::has_expression(&scalar.text).then_some(tree.at),
        Node::List(items) => items.iter().find_map(|item| template_in(item)),
        Node::Map(entries) => entries.iter().find_map(|entry| template_in(&entry.value)),
    }
}

fn check_times(trigger: &definition::Trigger, rule: &Rule, problems: &mut Problems) {
    let Some(until) = &trigger.until else { return };
    let from = rule.start.unwrap_or_default();
    if from >= until.value {
        problems.hint(until.at, "`until` is not after `start`", "nothing would ever fire");
    } else if trigger.start.is_some() && rule.next(from).is_none() && from != until.value {
        let message = format!("`{}` does not fire between `start` and `until`", rule.cron);
        problems.hint(until.at, message, "widen the time or change the cron");
    }
}
