//! What the events of a session add up to: who runs since when, what changed. Pure; it does not
//! know how that is drawn.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use jobshop_engine::event::EventKind;
use serde_json::Value;

use crate::client::objects::Event;

/// Of one group so many failures are told; more are only counted.
pub(super) const FAILED_MAX: u64 = 20;

/// One event, as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: DateTime<Utc>,
    /// The task, or nothing when the session itself moved.
    pub task: Option<String>,
    pub kind: Option<EventKind>,
    /// `completed`, `attempt failed`, …
    pub word: String,
    pub attempt: i64,
    /// How long the attempt took that ended here.
    pub took: Option<TimeDelta>,
    /// Why, where the event says so.
    pub why: Option<String>,
}

/// What is known of a session's tasks from its events so far.
#[derive(Debug, Default)]
pub struct Progress {
    started: HashMap<String, DateTime<Utc>>,
}

impl Progress {
    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) -> Step {
        let kind: Option<EventKind> = event.kind.parse().ok();
        let took = event.task.as_ref().and_then(|task| {
            match kind {
                Some(EventKind::TaskInProgress) => {
                    self.started.insert(task.clone(), event.at);
                    None
                }
                // A group or a sleep begins without an attempt.
                Some(EventKind::TaskBlocked) => {
                    self.started.entry(task.clone()).or_insert(event.at);
                    None
                }
                Some(
                    EventKind::TaskPending
                    | EventKind::TaskReady
                    | EventKind::TaskAssigned
                    | EventKind::TaskPaused
                    | EventKind::TaskCompleted
                    | EventKind::TaskFailed
                    | EventKind::TaskCancelled
                    | EventKind::TaskSkipped
                    | EventKind::AttemptFailed
                    | EventKind::TaskReleased
                    | EventKind::TaskCrashed,
                ) => self.started.remove(task).map(|start| event.at - start),
                // Items were laid down, a checkpoint was kept, somebody said something: it goes on.
                _ => None,
            }
        });
        let word = match event.kind.split_once('.') {
            Some(("session" | "task", word)) => word.to_owned(),
            // `checkpoint created`: of itself the word says nothing.
            Some(_) | None => event.kind.replace('.', " "),
        };
        Step {
            at: event.at,
            task: event.task.clone(),
            kind,
            word: word.replace('_', " "),
            attempt: event.attempt.unwrap_or(0),
            took,
            why: why(&event.data),
        }
    }
}

/// What happened inside a group.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) running: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl Inside {
    /// Takes in what a task in the group did.
    pub(super) fn apply(&mut self, step: &Step) {
        match step.kind {
            Some(EventKind::TaskInProgress) => self.running += 1,
            Some(EventKind::AttemptFailed | EventKind::TaskReleased | EventKind::TaskCrashed) => {
                self.running = self.running.saturating_sub(1);
            }
            // Groups and items inside end without having run; only attempts are counted.
            Some(EventKind::TaskCompleted) if step.attempt > 0 => {
                self.running = self.running.saturating_sub(1);
                self.done += 1;
            }
            Some(EventKind::TaskFailed | EventKind::TaskCancelled) if step.attempt > 0 => {
                self.running = self.running.saturating_sub(1);
                self.failed += 1;
            }
            _ => {}
        }
    }

    /// `3 done · 1 failed`; empty when nothing ran.
    pub(super) fn text(self) -> String {
        numbers(&[(self.done, "done"), (self.running, "running"), (self.failed, "failed")])
    }
}

/// `3 done · 1 failed`: what is not zero.
pub(super) fn numbers(pairs: &[(u64, &str)]) -> String {
    let shown = pairs.iter().filter(|(number, _)| *number > 0);
    shown.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(" · ")
}

impl Step {
    /// The group at the top of the session that the task is folded into, if it is inside one.
    pub fn fold(&self) -> Option<&str> {
        let task = self.task.as_deref()?;
        task.find(['[', '.']).map(|end| &task[..end])
    }

    /// `(attempt 2, 1.2s) error: exit code 1`; empty when there is nothing to say.
    pub fn detail(&self) -> String {
        let attempt = (self.attempt > 1).then(|| format!("attempt {}", self.attempt));
        let took = self.took.map(crate::table::span);
        let facts: Vec<String> = attempt.into_iter().chain(took).collect();
        let mut detail =
            if facts.is_empty() { String::new() } else { format!("({})", facts.join(", ")) };
        if let Some(why) = &self.why {
            if !detail.is_empty() {
                detail.push(' ');
            }
            detail.push_str(why);
        }
        detail
    }
}

/// The error or reason that an event carries.
fn why(data: &Value) -> Option<String> {
    let error = data.get("error").filter(|error| error.is_object()).unwrap_or(data);
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(crate::output::plain);
    match (text("class"), text("message")) {
        (Some(class), Some(message)) => Some(format!("{class}: {message}")),
        (None, Some(only)) | (Some(only), None) => Some(only),
        (None, None) => text("reason").or_else(|| text("status_reason")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(at_ms: i64, kind: &str, task: Option<&str>, data: Value) -> Event {
        Event {
            seq: 1,
            at: DateTime::from_timestamp_millis(at_ms).unwrap(),
            kind: kind.into(),
            task: task.map(Into::into),
            attempt: Some(2),
            data,
        }
    }

    #[test]
    fn an_attempt_is_timed_from_its_start_to_its_end() {
        let mut progress = Progress::default();
        progress.apply(&event(1_000, "task.in_progress", Some("plan"), Value::Null));
        let step = progress.apply(&event(1_200, "checkpoint.created", Some("plan"), Value::Null));
        assert_eq!((step.word.as_str(), step.took), ("checkpoint created", None));
        let data = json!({"error": {"class": "error", "message": "exit code 1"}});
        let step = progress.apply(&event(2_500, "task.attempt_failed", Some("plan"), data));
        assert_eq!(step.word, "attempt failed");
        assert_eq!(step.detail(), "(attempt 2, 1.5s) error: exit code 1");
        let step =
            progress.apply(&event(2_600, "task.skipped", Some("plan"), json!({"reason": "when"})));
        assert_eq!(step.detail(), "(attempt 2) when");
    }

    #[test]
    fn what_is_inside_a_group_is_folded_into_the_top_one() {
        let mut progress = Progress::default();
        for (task, fold) in
            [("plan", None), ("build[a.b/c].check", Some("build")), ("x.y.z", Some("x"))]
        {
            let step = progress.apply(&event(0, "task.completed", Some(task), Value::Null));
            assert_eq!(step.fold(), fold);
        }
    }
}
