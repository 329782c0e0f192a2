//! Writes a flow as the YAML that a user would write. What attempts come to stands in keys that
//! begin with `x-`, so that a failing case can be read in one piece.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::{
    flow::{
        By, Child, Class, Coming, Each, Ending, Flow, INPUTS, Items, Join, KeyRule, Kind, Output,
        Retry, Rounds, Task, Uses, Verdict, Work, input,
    },
    lock::{Lock, REALM},
};

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = String::new();
        write_tasks(&self.tasks, 1, &mut body)?;
        if !self.finally.is_empty() {
            // The clock makes leaps of hours.
            body.push_str("finally_timeout: 9000d\nfinally:\n");
            write_tasks(&self.finally, 1, &mut body)?;
        }
        if !self.outputs.is_empty() {
            body.push_str("outputs:\n");
        }
        for (index, term) in self.outputs.iter().enumerate() {
            writeln!(body, "  o{index}: ${{{{ {term} }}}}")?;
        }
        writeln!(f, "version: 1\nname: flow")?;
        if self.steering.pauses > 0 {
            writeln!(f, "x-pauses: {}", self.steering.pauses)?;
        }
        if let Some((end, after)) = self.steering.end {
            writeln!(f, "x-then: {} by hand after {after} finishes", end.as_str())?;
        }
        if !self.steering.retries.is_empty() {
            writeln!(f, "x-retries: {}", quoted(&format!("{:?}", self.steering.retries)))?;
        }
        if let Some(pick) = self.steering.fork {
            writeln!(f, "x-fork: {pick}")?;
        }
        if self.fail_fast {
            writeln!(f, "fail_fast: true")?;
        }
        let used = |name: &&&str| body.contains(&format!("inputs.{name}"));
        let (realm, own) = REALM;
        if INPUTS.iter().chain([&realm]).any(|name| used(&name)) {
            writeln!(f, "inputs:")?;
        }
        if used(&&realm) {
            writeln!(f, "  {realm}: {{ type: string, default: {own} }}")?;
        }
        for name in INPUTS.iter().filter(used) {
            let value = input(name);
            let kind = match value {
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                Value::Array(_) => "array",
                Value::Null | Value::String(_) | Value::Object(_) => "string",
            };
            writeln!(f, "  {name}: {{ type: {kind}, default: {value} }}")?;
        }
        if let Some(retry) = &self.retry {
            writeln!(f, "defaults: {{ retry: {} }}", policy(retry))?;
        }
        write!(f, "tasks:\n{body}")
    }
}

fn write_tasks(tasks: &[Task], depth: usize, out: &mut String) -> fmt::Result {
    tasks.iter().try_for_each(|task| write_task(task, depth, out))
}

fn write_task(task: &Task, depth: usize, out: &mut String) -> fmt::Result {
    let pad = "  ".repeat(depth + 1);
    writeln!(out, "{}{}:", "  ".repeat(depth), task.id)?;
    if !task.needs.is_empty() {
        writeln!(out, "{pad}needs: [{}]", task.needs.join(", "))?;
    }
    match task.join {
        Join::All => {}
        Join::Any => writeln!(out, "{pad}join: any")?,
        Join::AllDone => writeln!(out, "{pad}join: all_done")?,
    }
    if let Some(when) = &task.when {
        writeln!(out, "{pad}when: {}", quoted(&when.to_string()))?;
    }
    if task.continue_on_failure {
        writeln!(out, "{pad}continue_on_failure: true")?;
    }
    if !task.locks.is_empty() {
        let locks: Vec<String> = task.locks.iter().map(|lock| written(*lock)).collect();
        writeln!(out, "{pad}lock: [{}]", locks.join(", "))?;
    }
    match &task.kind {
        Kind::Work(work) => write_work(work, &pad, out),
        Kind::Sleep(ms) if *ms == 2 => writeln!(out, "{pad}sleep: ${{{{ inputs.pause }}}}"),
        Kind::Sleep(3) => writeln!(out, "{pad}sleep: 1h"),
        Kind::Sleep(ms) => writeln!(out, "{pad}sleep: {ms}ms"),
        Kind::Ask(verdict) => write_approval(*verdict, &pad, out),
        Kind::Wait(coming) => {
            writeln!(out, "{pad}wait_for: {}", task.id)?;
            if *coming == Coming::Never {
                writeln!(out, "{pad}timeout: 1h")?;
            }
            Ok(())
        }
        Kind::Child(child) => write_child(child, &pad, out),
        Kind::Group(tasks) => {
            writeln!(out, "{pad}tasks:")?;
            write_tasks(tasks, depth + 2, out)
        }
        Kind::Each(each) => {
            write_each(each, &pad, out)?;
            writeln!(out, "{pad}tasks:")?;
            write_tasks(&each.tasks, depth + 2, out)
        }
        Kind::Rounds(rounds) => {
            write_rounds(rounds, &pad, out)?;
            writeln!(out, "{pad}tasks:")?;
            write_tasks(&rounds.tasks, depth + 2, out)
        }
    }?;
    if let Some(work) = &task.compensate {
        writeln!(out, "{pad}compensate:")?;
        write_work(work, &format!("{pad}  "), out)?;
    }
    Ok(())
}

fn written(lock: Lock) -> String {
    let name = quoted(&lock.name(&format!("${{{{ inputs.{} }}}}", REALM.0)));
    match lock.limit() {
        1 => name,
        limit => format!("{{ name: {name}, limit: {limit} }}"),
    }
}

fn write_approval(verdict: Verdict, pad: &str, out: &mut String) -> fmt::Result {
    let (message, rule) = match verdict {
        Verdict::Approved => ("approve", "on_reject: fail"),
        Verdict::Rejected => ("reject", "on_reject: fail"),
        Verdict::Overruled => ("reject", "on_reject: continue"),
        Verdict::ApprovedInSilence => ("nothing", "on_timeout: approve"),
        Verdict::RejectedInSilence => ("nothing", "on_timeout: escalate"),
    };
    writeln!(out, "{pad}approval: {{ message: {message}, {rule} }}")?;
    if message == "nothing" {
        writeln!(out, "{pad}timeout: 1h")?;
    }
    Ok(())
}

fn write_child(child: &Child, pad: &str, out: &mut String) -> fmt::Result {
    let input = if child.uses == Uses::Misfit { "txet" } else { "text" };
    let value = quoted(&format!("v=${{{{ {} }}}}", child.with));
    writeln!(out, "{pad}uses: {}\n{pad}with: {{ {input}: {value} }}", child.uses.as_str())?;
    if let Some(retry) = &child.retry {
        writeln!(out, "{pad}retry: {}", policy(retry))?;
    }
    Ok(())
}

fn write_rounds(rounds: &Rounds, pad: &str, out: &mut String) -> fmt::Result {
    let until = quoted(&rounds.until.to_string());
    writeln!(out, "{pad}loop: {{ until: {until}, max_rounds: {} }}", rounds.most)?;
    if rounds.name != "round" {
        writeln!(out, "{pad}as: {}", rounds.name)?;
    }
    Ok(())
}

fn write_each(each: &Each, pad: &str, out: &mut String) -> fmt::Result {
    match &each.items {
        Items::List(list) => writeln!(out, "{pad}for_each: {}", Value::Array(list.clone()))?,
        Items::Given(term) => writeln!(out, "{pad}for_each: ${{{{ {term} }}}}")?,
    }
    if each.name != "item" {
        writeln!(out, "{pad}as: {}", each.name)?;
    }
    match each.key {
        KeyRule::Index => {}
        KeyRule::Item => writeln!(out, "{pad}key: ${{{{ {} }}}}", each.name)?,
        KeyRule::Prefixed => writeln!(out, "{pad}key: k-${{{{ {} }}}}", each.name)?,
    }
    if let Some(most) = each.max_parallel {
        writeln!(out, "{pad}max_parallel: {most}")?;
    }
    Ok(())
}

fn write_work(work: &Work, pad: &str, out: &mut String) -> fmt::Result {
    if work.is_noop() {
        writeln!(out, "{pad}uses: builtin/noop")?;
    } else if work.is_fail() {
        writeln!(out, "{pad}uses: builtin/fail")?;
    } else {
        match work.by {
            By::Command => {
                writeln!(out, "{pad}run: |")?;
                write_script(&work.endings[0], pad, out)?;
            }
            By::Agent => writeln!(out, "{pad}agent: {{ runtime: opencode, prompt: go on }}")?,
            By::Request => {
                writeln!(
                    out,
                    "{pad}uses: builtin/http\n{pad}with: {{ url: 'http://example.org' }}"
                )?;
            }
        }
        let endings: Vec<String> = work.endings.iter().map(|endings| words(endings)).collect();
        writeln!(out, "{pad}x-endings: [{}]", endings.join(", "))?;
        writeln!(out, "{pad}x-again: {}", words(&work.again))?;
    }
    if let Some(term) = &work.env {
        writeln!(out, "{pad}env: {{ SEEN: {} }}", quoted(&format!("${{{{ {term} }}}}")))?;
    }
    if let Some(retry) = &work.retry {
        writeln!(out, "{pad}retry: {}", policy(retry))?;
    }
    Ok(())
}

/// A script that does what the endings say, as far as a script can.
fn write_script(endings: &[Ending], pad: &str, out: &mut String) -> fmt::Result {
    writeln!(out, "{pad}  case $JOBSHOP_ATTEMPT in")?;
    for (index, ending) in endings.iter().enumerate() {
        let attempt = (index + 1).to_string();
        let attempt = if index + 1 == endings.len() { "*" } else { &attempt };
        let what = match ending {
            Ending::Succeeds(output) => output
                .json()
                .iter()
                .map(|(name, value)| match value.as_str() {
                    None => format!("echo '{name}:={value}' >> \"$JOBSHOP_OUTPUT\""),
                    Some(long) => {
                        let digits = long.len();
                        format!("printf '{name}=%0{digits}d\\n' 0 >> \"$JOBSHOP_OUTPUT\"")
                    }
                })
                .collect::<Vec<_>>()
                .join("; "),
            Ending::Fails(_) => "exit 1".to_owned(),
            Ending::Crashes => String::new(),
        };
        let what = if what.is_empty() { ":".to_owned() } else { what };
        writeln!(out, "{pad}    {attempt}) {what} ;;")?;
    }
    writeln!(out, "{pad}  esac")
}

impl Work {
    pub(super) fn is_noop(&self) -> bool {
        self.is_plain() && self.always(&Ending::Succeeds(Output::default()))
    }

    pub(super) fn is_fail(&self) -> bool {
        self.is_plain() && self.always(&Ending::Fails(Class::Error))
    }

    fn is_plain(&self) -> bool {
        self.by == By::Command && self.env.is_none()
    }

    /// Whether its outputs may be called anything.
    pub(super) fn names_outputs(&self) -> bool {
        self.by != By::Request && !self.is_noop() && !self.is_fail()
    }
}

fn words(endings: &[Ending]) -> String {
    let words: Vec<String> = endings
        .iter()
        .map(|ending| match ending {
            Ending::Succeeds(output) if *output == Output::default() => "succeeds".to_owned(),
            Ending::Succeeds(Output { n, list, large }) => {
                let large = if *large { " and more than a row holds" } else { "" };
                let list = list.as_ref().map(|list| Value::Array(list.clone()).to_string());
                let n = n.map(|n| n.to_string());
                let parts: Vec<String> = [n, list].into_iter().flatten().collect();
                format!("succeeds with {}{large}", parts.join(" and "))
            }
            Ending::Fails(class) => format!("fails with {}", class.as_str()),
            Ending::Crashes => "crashes".to_owned(),
        })
        .collect();
    quoted(&words.join(", "))
}

fn policy(retry: &Retry) -> String {
    let mut parts = vec!["initial: 1ms".to_owned()];
    parts.extend(retry.max_attempts.map(|most| format!("max_attempts: {most}")));
    parts.extend(retry.errors.as_ref().map(|errors| {
        let names: Vec<&str> = errors.iter().map(|class| class.as_str()).collect();
        format!("errors: [{}]", names.join(", "))
    }));
    format!("{{ {} }}", parts.join(", "))
}

/// Double-quoted YAML; the texts here hold nothing that needs more than JSON's escapes.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
