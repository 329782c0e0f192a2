//! What waits for people: approvals and signals, from the keys they are written with.

use crate::{
    expression::template,
    plan::Approval,
    role::{self, Role},
    signal,
    workflow::{
        definition::{self, At, Task, Text},
        problem::Problems,
    },
};

pub(super) fn approval(
    written: &At<definition::Approval>,
    task: &Task,
    problems: &mut Problems,
) -> Approval {
    let definition = &written.value;
    for name in &definition.from {
        check_decider(name, problems);
    }
    let quorum = definition.quorum.as_ref().map_or(1, |quorum| quorum.value);
    let is_open = |name: &At<String>| name.value.parse::<Role>().is_ok();
    let named = definition.from.len();
    if let Some(at) = &definition.quorum
        && named > 0
        && (at.value as usize) > named
        && !definition.from.iter().any(is_open)
    {
        let message = format!("{} have to approve, but only {named} may", at.value);
        problems.hint(at.at, message, "name more keys under `from`, or lower `quorum`");
    }
    if let (Some(on_timeout), None) = (&definition.on_timeout, task.timeout)
        && !task.is_broken
    {
        let hint = "give the task a `timeout`, beside `approval`";
        problems.hint(on_timeout.at, "`on_timeout` means nothing without a time limit", hint);
    }
    Approval {
        from: definition.from.iter().map(|name| name.value.clone()).collect(),
        quorum: i32::try_from(quorum).unwrap_or(i32::MAX),
        message: definition.message.as_ref().map(|message| message.text.clone()),
        on_reject: definition.on_reject,
        on_timeout: definition.on_timeout.as_ref().map(|it| it.value).unwrap_or_default(),
        bars_submitter: definition.no_self,
    }
}

fn check_decider(name: &At<String>, problems: &mut Problems) {
    if name.value == Role::Viewer.as_str() {
        let hint = "name keys, or the roles operator and admin";
        problems.hint(name.at, "a viewer only reads, and decides nothing", hint);
    } else if !role::is_key_name(&name.value) {
        let message = format!("`{}` is neither the name of a key nor a role", name.value);
        problems.hint(name.at, message, "write names: from: [lead, admin]");
    }
}

pub(super) fn signal(text: &Text, problems: &mut Problems) -> String {
    if !template::has_expression(&text.text) && !signal::is_name(&text.text) {
        problems.hint(
            text.raw.start,
            format!("`{}` cannot be the name of a signal", text.text),
            "use 1 to 128 letters, digits and `. _ / : @ -`",
        );
    }
    text.text.clone()
}
