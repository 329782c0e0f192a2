//! `jobshop simulate`: a workflow file played with made-up outcomes, without a server or a database.

use std::path::PathBuf;

use clap::Args;
use jobshop_engine::simulate::{Report, Step, Stubs, simulate};
use jobshop_engine::task::TaskState;
use jobshop_engine::workflow::check_inputs;

use super::request::{InputArgs, compile, read_text, refuse};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// A workflow file, or - for standard input
    file: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// What tasks come to: a YAML file of outputs, failures, durations, decisions and signals
    #[arg(long, value_name = "FILE")]
    stubs: Option<PathBuf>,
    /// How many attempts run at once; as many as there are unless given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
}

impl Simulate {
    pub(super) fn execute(self, app: &App) -> Result<Exit, Failure> {
        let file = self.file.display().to_string();
        let plan = compile(&file, &read_text(&self.file)?)?;
        let inputs = check_inputs(&plan, self.inputs.inputs(&plan)?)
            .map_err(|problems| refuse(&problems))?;
        let stubs = match &self.stubs {
            Some(path) => Stubs::parse(&read_text(path)?)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
            None => Stubs::default(),
        };
        let report = simulate(&plan, inputs, &stubs, self.workers.map(|workers| workers as usize));
        if app.output.is_json() {
            app.output.json(&serde_json::to_value(&report).map_err(std::io::Error::from)?)?;
        } else {
            tell(app, &report)?;
        }
        let all_run = report.never_runs.is_empty() && report.waits_for_ever.is_empty();
        Ok(if all_run { Exit::Done } else { Exit::SessionFailed })
    }
}

fn tell(app: &App, report: &Report) -> Result<(), Failure> {
    let mut rows = Rows::new(app.output, &["at", "task", "status", "took", "waits for"]);
    for step in &report.steps {
        rows.push([
            Text::Owned(step.ready_ms.or(step.finished_ms).map(span).unwrap_or_default()),
            Text::Owned(plain(&step.task)),
            Text::Owned(status(step)),
            Text::Owned(took(step)),
            Text::Owned(plain(&waits(step))),
        ]);
    }
    app.output.line(&rows.render())?;
    let mut lines = Vec::new();
    let ended = report.status.map_or_else(|| "waits for ever".to_owned(), |it| it.to_string());
    let error = report.error.as_ref().map(|error| format!(": {}", error.message));
    lines.push(format!("\nthe session would be: {ended}{}", error.unwrap_or_default()));
    let spread = match report.deviation_ms {
        0 => String::new(),
        ms => format!(" ± {} (one standard deviation)", span(ms)),
    };
    lines.push(format!("it would last: {}{spread}", span(report.duration_ms)));
    if !report.critical_path.is_empty() {
        lines.push(format!("critical path: {}", report.critical_path.join(" → ")));
    }
    if !report.unestimated.is_empty() {
        let names = report.unestimated.join(", ");
        lines.push(format!("counted as no time, without an estimate or a stub: {names}"));
    }
    let failed = report.steps.iter().filter(|step| step.status == TaskState::Failed);
    for (step, error) in failed.filter_map(|step| Some((step, step.error.as_ref()?))) {
        lines.push(format!("{} fails: {}", step.task, error.message));
    }
    for pattern in &report.unused_stubs {
        lines.push(format!("no task fits `{pattern}` of the stubs"));
    }
    for key in &report.waits_for_ever {
        lines.push(format!("{key} would wait for ever"));
    }
    for it in &report.never_runs {
        lines.push(format!("{} never runs: {}", it.task, it.why));
    }
    for line in lines {
        app.output.line(&crate::output::printable(&line))?;
    }
    Ok(())
}

fn status(step: &Step) -> String {
    let error = step.error.as_ref().filter(|_| step.status == TaskState::Failed);
    let because = match (error, step.reason) {
        (Some(error), _) => format!(" ({})", error.class),
        (None, Some(reason)) => format!(" ({})", reason.as_str()),
        (None, None) => String::new(),
    };
    let attempts =
        if step.attempts > 1 { format!(", {} attempts", step.attempts) } else { String::new() };
    format!("{}{because}{attempts}", step.status)
}

fn took(step: &Step) -> String {
    let times = step.ready_ms.zip(step.finished_ms);
    times.map(|(from, to)| span(to.saturating_sub(from))).unwrap_or_default()
}

/// The first few names of what a step waited for.
fn waits(step: &Step) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = step.waited_for.iter().take(SHOWN).cloned().collect();
    let more = step.waited_for.len().saturating_sub(SHOWN);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if let Some(other) = &step.waited_for_worker {
        names.push(format!("the worker of {other}"));
    }
    names.join(", ")
}

/// Two units at most: `1h 5m`, `2m 30s`, `250ms`.
fn span(ms: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let Some(first) = UNITS.iter().position(|(_, unit)| ms >= *unit) else { return "0s".into() };
    let mut left = ms;
    let mut told = Vec::new();
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        if left >= *unit {
            told.push(format!("{}{name}", left / unit));
        }
        left %= unit;
    }
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [0, 250, 1_500, 61_000, 3_900_000, 90_000_000].map(span);
        assert_eq!(told, ["0s", "250ms", "1s 500ms", "1m 1s", "1h 5m", "1d 1h"]);
    }
}
