//! The language by example: what is accepted, what is refused, and how the refusal reads.

mod accepted;
mod artifacts;
mod budgets;
mod compensate;
mod context;
mod decompose;
mod finally;
mod foresight;
mod kinds;
mod limits;
mod locks;
mod loops;
mod names;
mod needs;
mod people;
mod prefers;
mod properties;
mod schedules;
mod structure;
mod text;
mod verify;

use super::{compile, problem::Problem};
use crate::plan::Plan;

/// The problems of a workflow, one a line, hints below; lines count from the first line of `yaml`
/// that is not empty.
fn problems(yaml: &str) -> String {
    let yaml = yaml.trim_start_matches('\n');
    match compile(yaml) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.iter().map(shown).collect::<Vec<_>>().join("\n"),
    }
}

fn shown(problem: &Problem) -> String {
    let Problem { line, column, message, hint } = problem;
    let hint = hint.as_ref().map(|hint| format!("\n     {hint}")).unwrap_or_default();
    format!("{line}:{column} {message}{hint}")
}

/// The problems of tasks below a right head of two lines.
fn task_problems(tasks: &str) -> String {
    problems(&format!("version: 1\nname: test\n{}", tasks.trim_start_matches('\n')))
}

fn accepted(yaml: &str) -> Plan {
    let yaml = yaml.trim_start_matches('\n');
    compile(yaml).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| p.render("f.yaml", yaml)).collect::<String>())
    })
}
