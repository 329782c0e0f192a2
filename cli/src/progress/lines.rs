//! A session as plain lines, one a transition: for pipes and logs. A group that goes on and on becomes
//! a line with its counts now and then.

use std::collections::HashMap;
use std::io;

use chrono::{DateTime, TimeDelta, Utc};
use jobshop_engine::event::EventKind as E;

use crate::client::objects::Event;
use crate::output::Output;

use super::model::{FAILED_MAX, Inside};
use super::{Progress, Step};

/// So much of what happens inside a group gets lines of its own.
const INSIDE_MAX: usize = 40;
/// Then its counts are told this often.
const COUNTS_EVERY: TimeDelta = TimeDelta::seconds(5);

/// Writes lines about events; to standard error when standard output belongs to JSON.
#[derive(Debug)]
pub struct Lines {
    output: Output,
    progress: Progress,
    groups: HashMap<String, Group>,
}

/// A group at the top of the session.
#[derive(Debug, Default)]
struct Group {
    inside: Inside,
    lines: usize,
    told_at: Option<DateTime<Utc>>,
}

impl Group {
    /// What is told of a step inside of it: itself, the counts, or nothing.
    fn tell(&mut self, step: &Step) -> Told {
        self.inside.apply(step);
        let is_failure = step.kind == Some(E::TaskFailed) && step.why.is_some();
        if self.lines < INSIDE_MAX || (is_failure && self.inside.failed <= FAILED_MAX) {
            self.lines += 1;
            self.told_at = Some(step.at);
            return Told::Step;
        }
        if self.told_at.is_some_and(|told| step.at - told < COUNTS_EVERY) {
            return Told::Nothing;
        }
        self.told_at = Some(step.at);
        Told::Counts
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Step,
    Counts,
    Nothing,
}

impl Lines {
    pub(super) fn new(output: Output) -> Self {
        Self { output, progress: Progress::default(), groups: HashMap::new() }
    }

    pub(super) fn show(&mut self, event: &Event) -> io::Result<()> {
        let step = self.progress.apply(event);
        let Some(name) = step.fold() else {
            let is_end = matches!(
                step.kind,
                Some(E::TaskCompleted | E::TaskFailed | E::TaskCancelled | E::TaskSkipped)
            );
            let ended = step.task.as_ref().filter(|_| is_end);
            let group = ended.and_then(|task| self.groups.remove(task));
            // Of a short group all was told.
            let long = group.filter(|group| group.lines >= INSIDE_MAX);
            return self.print(&step, &long.map(|group| group.inside.text()).unwrap_or_default());
        };
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        let Some(group) = self.groups.get_mut(name) else { return Ok(()) };
        match group.tell(&step) {
            Told::Nothing => Ok(()),
            Told::Step => self.print(&step, ""),
            Told::Counts => {
                let text = group.inside.text();
                self.line(&step, name, "in progress", &text)
            }
        }
    }

    fn print(&self, step: &Step, inside: &str) -> io::Result<()> {
        let name = step.task.as_deref().unwrap_or("session");
        let facts = [inside, step.detail().as_str()].join(" ");
        self.line(step, name, &step.word, facts.trim_start())
    }

    fn line(&self, step: &Step, name: &str, word: &str, facts: &str) -> io::Result<()> {
        let time = step.at.format("%H:%M:%S");
        let line = format!("{time}  {name:<28}  {word:<16} {facts}");
        if self.output.is_json() {
            self.output.note(line.trim_end());
            return Ok(());
        }
        self.output.line(line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_secs: i64, kind: E, why: Option<&str>) -> Step {
        Step {
            at: DateTime::from_timestamp(at_secs, 0).unwrap(),
            task: Some("all[1].one".to_owned()),
            kind: Some(kind),
            word: String::new(),
            attempt: 1,
            took: None,
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn a_long_group_is_counted_every_five_seconds_and_its_first_failures_are_told() {
        let mut group = Group::default();
        let mut told = |at, kind, why| group.tell(&step(at, kind, why));
        for _ in 0..20 {
            assert_eq!(told(100, E::TaskInProgress, None), Told::Step);
            assert_eq!(told(100, E::TaskCompleted, None), Told::Step);
        }
        for _ in 0..1_000 {
            assert_eq!(told(104, E::TaskInProgress, None), Told::Nothing);
            assert_eq!(told(104, E::TaskCompleted, None), Told::Nothing);
        }
        assert_eq!(told(105, E::TaskInProgress, None), Told::Counts);
        assert_eq!(told(109, E::TaskInProgress, None), Told::Nothing);
        for _ in 0..20 {
            assert_eq!(told(109, E::TaskFailed, Some("error: no")), Told::Step);
        }
        assert_eq!(told(109, E::TaskFailed, Some("error: no")), Told::Nothing);
        assert_eq!(group.inside.text(), "1020 done · 21 failed");
    }
}
