//! Compares what a session has left with what the reference model says. Every difference is told in
//! one line.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobshop_engine::{
    event::EventKind,
    session::SessionState,
    task::{Reason, TaskState},
};
use serde_json::Value;

use super::{
    flow::End,
    observe::{Counters, Observed, ObservedRow},
    reference::{Expected, ExpectedRow, RowKind},
};

/// What cancelled what was open at some moment, if anything did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// A failure under `fail_fast`.
    pub fail_fast: bool,
    /// A person.
    pub end: Option<End>,
}

impl Course {
    /// Whether the session could go its way.
    pub const fn is_whole(self) -> bool {
        !self.fail_fast && self.end.is_none()
    }

    /// Why a row is cancelled that was cut off.
    fn cuts_off_for(self, reason: Option<Reason>) -> bool {
        let by_hand = self.end.map(|end| match end {
            End::Cancel => Reason::SessionCancelled,
            End::Stop => Reason::SessionStopped,
            End::Complete | End::Fail => Reason::EndedByHand,
        });
        reason.is_some()
            && (reason == by_hand || (self.fail_fast && reason == Some(Reason::FailFast)))
    }
}

/// The differences; none when all is well. A fork is told its `origin`.
pub fn judge(
    expected: &Expected,
    observed: &Observed,
    course: Course,
    origin: Option<&Observed>,
) -> Vec<String> {
    let mut judge = Judge { expected, observed, course, origin, found: Vec::new() };
    judge.session();
    judge.rows();
    judge.events();
    judge.found
}

/// Nothing starts before what it waits for has ended, and no group runs more items than it may.
/// Only for a session's first round: a retry opens again what others have waited for.
pub fn judge_order(expected: &Expected, observed: &Observed) -> Vec<String> {
    let course = Course { fail_fast: false, end: None };
    let mut judge = Judge { expected, observed, course, origin: None, found: Vec::new() };
    judge.order();
    judge.parallel();
    judge.found
}

/// What was done before a retry stays done: it was not even started again.
pub fn judge_kept(kept: &[String], before: &Observed, after: &Observed) -> Vec<String> {
    let end = |row: &ObservedRow| (row.state, row.attempt);
    let is_broken = |key: &&String| {
        let then = before.rows.get(*key);
        then.is_some_and(|row| Some(end(row)) != after.rows.get(*key).map(end))
    };
    // What was given an end by hand has another state than before, but no other attempt.
    let broken = kept.iter().filter(is_broken).filter(|key| {
        let reason = after.rows.get(*key).map(|row| (row.reason, row.attempt));
        let then = before.rows.get(*key).map(|row| row.attempt);
        let is_by_hand = reason.is_some_and(|(reason, attempt)| {
            (reason == Some(Reason::SkippedByHand) || reason.is_none()) && Some(attempt) == then
        });
        !is_by_hand
    });
    broken.map(|key| format!("{key} was done before the retry, which ran it again")).collect()
}

/// What undoes tasks runs one after the other, in the reverse order in which the tasks completed.
pub fn judge_undoing(expected: &Expected, observed: &Observed) -> Vec<String> {
    let mut pairs: Vec<(&ObservedRow, &ObservedRow, String)> = expected
        .undoing()
        .filter_map(|key| {
            let undone = observed.rows.get(key.strip_suffix(".compensate")?)?;
            Some((undone, observed.rows.get(&key)?, key))
        })
        .collect();
    pairs.sort_by_key(|(undone, ..)| std::cmp::Reverse((undone.finished_at, undone.seq)));
    let is_early = |pair: &&[(&ObservedRow, &ObservedRow, String)]| {
        let (first, second) = (pair[0].1, pair[1].1);
        second.attempt > 0 && second.ready_at < first.finished_at
    };
    pairs
        .windows(2)
        .filter(is_early)
        .map(|pair| format!("{} could start before {} ended", pair[1].2, pair[0].2))
        .collect()
}

struct Judge<'a> {
    expected: &'a Expected,
    observed: &'a Observed,
    course: Course,
    origin: Option<&'a Observed>,
    found: Vec<String>,
}

impl Judge<'_> {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(what());
        }
    }

    fn session(&mut self) {
        let Observed { state, open, is_restless, .. } = *self.observed;
        let right = self.expected.state;
        self.check(state == right, || format!("the session is {state}, it must be {right}"));
        self.check(open == 0 && !is_restless, || {
            format!("the session ended with {open} open rows, restless: {is_restless}")
        });
        if self.course.end != Some(End::Cancel) {
            let right = self.expected.outputs.clone().map(Value::Object);
            let outputs = &self.observed.outputs;
            self.check(*outputs == right, || {
                format!("the outputs are {outputs:?}, they must be {right:?}")
            });
        }
        let count = |state: Option<TaskState>| {
            let rows = self.observed.rows.values();
            let rows = rows.filter(|row| row.kind == RowKind::Executable);
            let rows = rows.filter(|row| state.is_none_or(|state| row.state == state));
            i32::try_from(rows.count()).expect("few rows")
        };
        let rows = Counters {
            total: count(None),
            completed: count(Some(TaskState::Completed)),
            failed: count(Some(TaskState::Failed)),
            cancelled: count(Some(TaskState::Cancelled)),
            skipped: count(Some(TaskState::Skipped)),
        };
        let counters = self.observed.counters;
        self.check(rows == counters, || format!("the rows are {rows:?}, counted {counters:?}"));
    }

    fn rows(&mut self) {
        for (key, right) in &self.expected.rows {
            if let Some(row) = self.observed.rows.get(key) {
                self.row(key, right, row);
            } else {
                // Items, rounds and what undoes may never have been laid down.
                let is_cut_off = if right.is_after {
                    self.course.end == Some(End::Cancel)
                } else {
                    !self.course.is_whole()
                };
                let is_laid_late = key.contains('[') || key.ends_with(".compensate");
                let may_be_missing = is_cut_off && is_laid_late;
                self.check(may_be_missing, || {
                    format!("{key} is missing; it must be {}", right.state)
                });
            }
        }
        for (key, row) in &self.observed.rows {
            let is_known = self.expected.rows.contains_key(key)
                || self.expected.undone_before.contains(key)
                || key.contains('#');
            self.check(is_known, || format!("{key} must not exist; it is {}", row.state));
        }
    }

    fn row(&mut self, key: &str, right: &ExpectedRow, row: &ObservedRow) {
        self.check(!row.is_restless, || format!("{key} is still to be decided or run"));
        self.check(row.kind == right.kind, || format!("{key} is a {:?}", row.kind));
        self.check(row.finished_at.is_some(), || format!("{key} never finished"));
        if self.was_cut_off(key, right, row) {
            return;
        }
        let is = (row.state, row.reason);
        // Why an item ended is not told by the model.
        let is_known = right.kind != RowKind::Item || !self.is_shared(key, row);
        let must = (right.state, if is_known { right.reason } else { row.reason });
        self.check(is == must, || {
            let error = row.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
            format!("{key} is {}{error}, it must be {}", told(is), told(must))
        });
        if is != must {
            return;
        }
        let class = row.error.as_ref().and_then(|error| error["class"].as_str());
        let right_class = right.class.filter(|_| right.state == TaskState::Failed);
        self.check(right_class.is_none() || class == right_class, || {
            format!("{key} failed with {class:?}, it must be {right_class:?}")
        });
        self.check((row.state == TaskState::Failed) == class.is_some(), || {
            format!("{key} is {} with the error {:?}", row.state, row.error)
        });
        let counts = (row.failures, row.crashes);
        let right_counts = (right.failures.cast_signed(), right.crashes.cast_signed());
        self.check(counts == right_counts, || {
            format!("{key} has {counts:?} failures and crashes, it must have {right_counts:?}")
        });
        let is_done = right.state == TaskState::Completed && !right.by_hand;
        let tries = right_counts.0 + right_counts.1 + i32::from(is_done);
        let is_tried = right.kind == RowKind::Executable && row.ready_at.is_some();
        let least = if is_tried { tries } else { 0 };
        self.check(row.attempt >= least, || format!("{key} had {} attempts only", row.attempt));
        if right.kind == RowKind::Executable && right.state == TaskState::Completed {
            let outputs = row.outputs.clone().unwrap_or(Value::Null);
            let right = Value::Object(right.outputs.clone());
            self.check(outputs_match(&outputs, &right), || {
                format!("{key} has the outputs {outputs}, they must be {right}")
            });
        }
    }

    /// Whether a row was cancelled by what interrupted the session, and rightly so.
    fn was_cut_off(&mut self, key: &str, right: &ExpectedRow, row: &ObservedRow) -> bool {
        let is_cancel = self.course.end == Some(End::Cancel);
        if self.course.is_whole() || (right.is_after && !is_cancel) {
            return false;
        }
        let is_cut_off = row.state == TaskState::Cancelled && self.course.cuts_off_for(row.reason);
        let is_group = right.kind != RowKind::Executable;
        if !is_cut_off && row.state == TaskState::Failed && is_group {
            // It ended before the interruption, or by it: some of it may have been cut off. What
            // stops lets what runs come to an end, and so groups too.
            let is_stopped = |child: &ObservedRow| {
                child.state == TaskState::Cancelled && child.reason == Some(Reason::SessionStopped)
            };
            let is_bad = |it: &ObservedRow| it.state == TaskState::Failed || is_stopped(it);
            return self.spoiler(key, is_bad).is_some();
        }
        if is_cut_off && row.reason == Some(Reason::FailFast) && is_group {
            // What was stopped just then may never have begun, and spoils nothing.
            let spoiler = self.spoiler(key, |child| child.state == TaskState::Failed).cloned();
            self.check(spoiler.is_none(), || {
                let inner = spoiler.unwrap_or_default();
                format!("{key} is cancelled, it must be failed: {inner} failed")
            });
        }
        is_cut_off
    }

    /// What is bad and stands directly in this group or item, unless that is allowed.
    fn spoiler(&self, key: &str, is_bad: impl Fn(&ObservedRow) -> bool) -> Option<&String> {
        let children =
            self.observed.rows.iter().filter(|(inner, row)| {
                is_bad(row) && inner.strip_prefix(key).is_some_and(is_one_step)
            });
        let is_forgiven =
            |key: &String| self.expected.rows.get(key).is_some_and(|row| row.is_forgiven);
        children.map(|(inner, _)| inner).find(|inner| !is_forgiven(inner))
    }

    fn events(&mut self) {
        let events = &self.observed.events;
        let numbers: Vec<i32> = events.iter().map(|event| event.number).collect();
        let right: Vec<i32> = (1..self.observed.next_event).collect();
        self.check(numbers == right, || format!("the events are numbered {numbers:?}"));
        let ends = events
            .iter()
            .filter(|event| event.kind.session_state().is_some_and(SessionState::is_final));
        let ends = i32::try_from(ends.count()).expect("few events");
        let right = self.observed.retry + 1;
        self.check(ends == right, || format!("the session ended {ends} times, not {right}"));
        let mut finals: HashMap<i32, Vec<(i32, TaskState)>> = HashMap::new();
        let mut opened = 0;
        for event in events {
            match (event.task, final_state(event.kind)) {
                (Some(task), Some(state)) => {
                    finals.entry(task).or_default().push((opened, state));
                }
                (None, _)
                    if event.kind == EventKind::SessionPending
                        || event.kind.session_state().is_some_and(SessionState::is_final) =>
                {
                    opened += 1;
                }
                _ => {}
            }
        }
        for (key, row) in &self.observed.rows {
            let ends = finals.remove(&row.seq).unwrap_or_default();
            let is_twice = ends.windows(2).any(|pair| pair[0].0 == pair[1].0);
            self.check(!is_twice, || format!("{key} ended twice: {ends:?}"));
            let last = ends.last().map(|(_, state)| *state);
            let right = Some(row.state).filter(|_| !self.is_shared(key, row));
            self.check(last == right, || {
                format!("{key} is {}, its last event says {last:?}", row.state)
            });
        }
        self.starts();
    }

    /// Whether it ended in the session of which this one is a fork: nothing happened to it here.
    fn is_shared(&self, key: &str, row: &ObservedRow) -> bool {
        let origin = self.origin.and_then(|origin| origin.rows.get(key));
        origin.is_some_and(|there| there.finished_at == row.finished_at)
    }

    /// What was skipped or failed without an attempt was never started.
    fn starts(&mut self) {
        let mut starts: HashMap<i32, i32> = HashMap::new();
        for event in &self.observed.events {
            if let (Some(task), EventKind::TaskInProgress) = (event.task, event.kind) {
                *starts.entry(task).or_default() += 1;
            }
        }
        for (key, row) in &self.observed.rows {
            let count = starts.remove(&row.seq).unwrap_or_default();
            self.check(count <= row.attempt, || {
                format!("{key} has {count} starts in {} attempts", row.attempt)
            });
            let never = row.state == TaskState::Skipped || row.kind != RowKind::Executable;
            let is_first = self.observed.retry == 0 && self.origin.is_none();
            self.check(!never || !is_first || row.attempt == 0, || {
                format!("{key} is {} and was attempted {} times", row.state, row.attempt)
            });
        }
    }

    fn order(&mut self) {
        let ended = |key: &String| self.observed.rows.get(key).and_then(|row| row.finished_at);
        for (key, row) in &self.observed.rows {
            let Some(right) = self.expected.rows.get(key) else { continue };
            let (Some(ready), true) = (row.ready_at, row.attempt > 0) else { continue };
            for need in &right.after {
                let is_late = ended(need).is_some_and(|at| at > ready);
                self.check(!is_late, || format!("{key} could start before {need} ended"));
            }
            for needs in &right.after_one_of {
                let is_early = needs.iter().filter_map(ended).all(|at| at > ready);
                self.check(!is_early, || {
                    format!("{key} could start before any of {needs:?} ended")
                });
            }
        }
    }

    fn parallel(&mut self) {
        for (key, right) in &self.expected.rows {
            let Some(most) = right.max_parallel else { continue };
            let mut moments: Vec<(DateTime<Utc>, i32)> = Vec::new();
            for (inner, row) in &self.observed.rows {
                let is_item = row.kind == RowKind::Item
                    && inner.strip_prefix(key.as_str()).is_some_and(is_one_step);
                if let (true, Some(begun), Some(ended)) = (is_item, row.created_at, row.finished_at)
                {
                    moments.extend([(begun, 1), (ended, -1)]);
                }
            }
            moments.sort_unstable();
            let mut at_once = 0;
            for (_, step) in moments {
                at_once += step;
                self.check(at_once <= most.into(), || {
                    format!("{key} had {at_once} items at once, at most {most} are allowed")
                });
            }
        }
    }
}

/// What follows the key of a group: the child of a group or item, or the item of a group.
fn is_one_step(rest: &str) -> bool {
    match rest.chars().next() {
        Some('.') => !rest[1..].contains(['.', '[']),
        Some('[') => rest.find(']') == Some(rest.len() - 1),
        _ => false,
    }
}

fn final_state(kind: EventKind) -> Option<TaskState> {
    TaskState::ALL.into_iter().find(|state| state.is_final() && EventKind::of_task(*state) == kind)
}

/// A command's outputs hold its exit code, which attempts that were only decided do not have.
fn outputs_match(outputs: &Value, right: &Value) -> bool {
    let mut outputs = outputs.clone();
    if let Some(map) = outputs.as_object_mut() {
        map.remove("exit_code");
    }
    outputs == *right
}

fn told((state, reason): (TaskState, Option<Reason>)) -> String {
    match reason {
        Some(reason) => format!("{state} ({})", reason.as_str()),
        None => state.to_string(),
    }
}
