//! Judges the rounds of a session one after the other, and chooses what each retry is asked for.

use std::collections::BTreeSet;

use jobshop_engine::task::TaskState;

use super::{
    flow::{Again, End, Flow},
    judge::{self, Course},
    observe::Observed,
    reference::{self, Chosen, Level, Round},
};

/// How far a session has come, as the reference model sees it.
#[derive(Debug)]
pub(super) struct Progress {
    /// What the tasks came to, and what of it runs again.
    before: Option<Level>,
    changed: bool,
    /// What undid tasks in earlier rounds.
    undone: BTreeSet<String>,
    last: Option<Observed>,
    /// It is a fork of what was observed last.
    is_fork: bool,
    kept: Vec<String>,
    /// What was found wrong.
    pub problems: Vec<String>,
    /// What attempts must have found in `$SEEN`, when the last round went its way.
    pub seen: Vec<(String, String)>,
}

/// What is asked of a retry, and whether that opens anything.
#[derive(Debug)]
pub(super) struct Retry {
    pub chosen: Chosen,
    pub opens: bool,
}

impl Progress {
    pub(super) const fn new() -> Self {
        Self {
            before: None,
            changed: false,
            undone: BTreeSet::new(),
            last: None,
            is_fork: false,
            kept: Vec::new(),
            problems: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Judges a round that has ended; `end` is how a person ended it.
    pub(super) fn judge(&mut self, flow: &Flow, observed: Observed, end: Option<End>) {
        let round = Round { before: self.before.as_ref(), changed: self.changed };
        let level = reference::run(flow, round);
        let fails = reference::fails_unallowed(flow, &level);
        let course = Course { fail_fast: flow.fail_fast && fails, end };
        let mut left = if course.is_whole() {
            level.clone()
        } else {
            reference::overlay(&flow.tasks, &level, "", &observed.seen())
        };
        let mut expected = reference::expect(flow, &level, &mut left, round, end);
        expected.undone_before.clone_from(&self.undone);
        if end == Some(End::Cancel) {
            reference::unmark(&mut left, "", &|key| observed.has_undone(key));
        }
        let origin = self.last.as_ref().filter(|_| self.is_fork);
        let mut found = judge::judge(&expected, &observed, course, origin);
        match &self.last {
            None => found.extend(judge::judge_order(&expected, &observed)),
            Some(last) => found.extend(judge::judge_kept(&self.kept, last, &observed)),
        }
        found.extend(judge::judge_undoing(&expected, &observed));
        self.seen.clear();
        if course.is_whole() {
            let seen = expected.rows.iter().filter_map(|(key, row)| {
                let is_seen = row.state != TaskState::Skipped;
                Some((key.clone(), row.seen.clone().filter(|_| is_seen)?))
            });
            self.seen.extend(seen);
        }
        let nth = observed.retry;
        self.problems.extend(found.into_iter().map(|what| format!("round {nth}: {what}")));
        self.undone.extend(expected.undoing());
        self.before = Some(left);
        self.last = Some(observed);
    }

    /// What a retry is asked for now; `None` where it is not known what that would come to.
    pub(super) fn retry(&mut self, flow: &Flow, again: Again, has_number: bool) -> Option<Retry> {
        let level = self.before.as_ref()?;
        let mut chosen = reference::choose(flow, level, again);
        if chosen == Chosen::Inputs && !has_number {
            chosen = Chosen::Plain;
        }
        let mut marked = level.clone();
        reference::mark(flow, &mut marked, &chosen);
        if reference::is_overtaken(&flow.tasks, &marked) {
            return None;
        }
        let gives_an_end = matches!(chosen, Chosen::Skip(_) | Chosen::Output(_));
        let opens = gives_an_end
            || marked.iter().any(|(_, node)| node.is_reopened())
            || self.last.as_ref().is_some_and(Observed::failed_after_the_result);
        if opens {
            self.kept = reference::kept(&flow.tasks, &marked, "");
            self.changed |= chosen == Chosen::Inputs;
            self.before = Some(marked);
        }
        Some(Retry { chosen, opens })
    }

    /// What a fork is made at; `None` where it is not known what it would come to.
    pub(super) fn fork(&mut self, flow: &Flow, pick: usize) -> Option<String> {
        let level = self.before.as_ref()?;
        let chosen = reference::choose(flow, level, Again::From(pick));
        let Chosen::From(key) = &chosen else { return None };
        let mut marked = level.clone();
        reference::share(&mut marked);
        reference::mark(flow, &mut marked, &chosen);
        if reference::is_overtaken(&flow.tasks, &marked) {
            return None;
        }
        self.kept = reference::kept(&flow.tasks, &marked, "");
        self.before = Some(marked);
        self.undone.clear();
        self.is_fork = true;
        Some(key.clone())
    }

    /// The row that has this key.
    pub(super) fn seq(&self, key: &str) -> Option<i32> {
        Some(self.last.as_ref()?.rows.get(key)?.seq)
    }
}
