//! How a task's result is judged: from the keys it is written with to what the plan keeps.

use super::kinds;
use crate::{
    artifact::Pattern,
    plan::{AgentRuntime, Expected, Verify},
    workflow::{definition::Task, problem::Problems},
};

/// What a task has to come to; `is_clone` says whether it works in a repository.
pub(super) fn expected(
    task: &Task,
    is_clone: bool,
    source: &str,
    problems: &mut Problems,
) -> Expected {
    let verify = task.verify.as_ref().map(|verify| {
        let fail = task.on_verify_fail.as_ref().map(|fail| &fail.value);
        Verify {
            commands: verify.0.iter().map(|run| kinds::command(run, source, problems)).collect(),
            max_rounds: fail.map_or(0, |fail| fail.max_rounds.value),
            resume_session: fail.is_some_and(|fail| fail.resume_session.unwrap_or(true)),
        }
    });
    for path in &task.paths {
        if let Err(why) = path.value.parse::<Pattern>() {
            problems.add(path.at, why.to_string());
        }
    }
    let artifacts = task.artifacts.iter().flat_map(|artifacts| &artifacts.0);
    Expected {
        diff: is_clone && is_diff_due(task),
        verify,
        artifacts: artifacts.map(|pattern| pattern.text.clone()).collect(),
        paths: task.paths.iter().map(|path| path.value.clone()).collect(),
    }
}

/// An agent is there to change something, unless it is asked for outputs, or plays a script that says
/// what it does.
fn is_diff_due(task: &Task) -> bool {
    let Some(agent) = &task.agent else { return false };
    let is_played = agent.value.runtime == AgentRuntime::Scripted && task.verify.is_none();
    let is_asked = task.outputs.is_some();
    !task.allow_empty.unwrap_or(is_played || is_asked)
}
