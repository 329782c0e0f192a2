//! The course of a simulated session: rows end, what waited for them is decided, time jumps to what
//! comes next.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
};

use serde_json::{Map, Value};

use super::{
    row::{Fan, Row},
    stubs::{SignalStub, Stubs},
};
use crate::{
    closing::Phase,
    outcome::Failure,
    plan::{BlockIndex, Group, NodeIndex, Plan},
    session::SessionState,
    task::{Reason, TaskState},
};

/// What comes at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// An attempt, or the wait for people or a session, comes to its end.
    Ends {
        row: usize,
        attempt: usize,
    },
    /// A sleep or a back-off is over.
    Wakes {
        row: usize,
        attempt: usize,
    },
    /// A group, an approval or a signal runs out of time; the second time for an escalation.
    Expires {
        row: usize,
        again: bool,
    },
    /// A ready task has waited too long.
    StartLimit {
        row: usize,
        attempt: usize,
    },
    /// A signal is sent.
    Signal {
        stub: usize,
    },
    /// The session runs out of time.
    Deadline,
    FinallyLimit,
}

/// What an attempt will come to.
pub(super) type Ending = Result<Value, Failure>;

pub(super) struct Course<'a> {
    pub(super) plan: &'a Plan,
    pub(super) inputs: Map<String, Value>,
    pub(super) stubs: &'a Stubs,
    workers: Option<usize>,
    pub(super) rows: Vec<Row>,
    pub(super) fans: HashMap<usize, Fan>,
    pub(super) now: u64,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    /// Events so far: those of one time come in the order in which they were set.
    set: usize,
    pub(super) undecided: BTreeSet<usize>,
    /// Ready rows by rank.
    pub(super) queue: BTreeSet<(i64, usize)>,
    pub(super) busy: usize,
    /// The row that freed a worker last.
    pub(super) freed: Option<usize>,
    pub(super) endings: HashMap<usize, Ending>,
    /// Signals that nobody took yet, and rows that wait for one.
    pub(super) signals: Vec<(String, Value)>,
    pub(super) waiting: Vec<(String, usize)>,
    /// Rows at the top that have not ended.
    pub(super) open: i32,
    pub(super) bad: i32,
    pub(super) allowed: i32,
    pub(super) swept: bool,
    pub(super) phase: Phase,
    pub(super) result: Option<SessionState>,
    /// What tasks wrote into the context.
    pub(super) context: Map<String, Value>,
    pub(super) has_started: bool,
    pub(super) end: Option<SessionState>,
    pub(super) outputs: Option<Value>,
    pub(super) error: Option<Failure>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        inputs: Map<String, Value>,
        stubs: &'a Stubs,
        workers: Option<usize>,
    ) -> Self {
        let mut course = Self {
            plan,
            inputs,
            stubs,
            workers,
            rows: Vec::new(),
            fans: HashMap::new(),
            now: 0,
            events: BinaryHeap::new(),
            set: 0,
            undecided: BTreeSet::new(),
            queue: BTreeSet::new(),
            busy: 0,
            freed: None,
            endings: HashMap::new(),
            signals: Vec::new(),
            waiting: Vec::new(),
            open: 0,
            bad: 0,
            allowed: 0,
            swept: false,
            phase: Phase::Tasks,
            result: None,
            context: Map::new(),
            has_started: false,
            end: None,
            outputs: None,
            error: None,
        };
        course.lay(BlockIndex::ROOT, None);
        let tops =
            course.rows.iter().filter(|row| row.parent.is_none() && !plan.node(row.node).finally);
        course.open = i32::try_from(tops.count()).expect("a plan has at most 10 000 nodes");
        for (at, (_, SignalStub { at: sent, .. })) in stubs.signals.iter().enumerate() {
            course.at(sent.map_or(0, |span| span.ms), Event::Signal { stub: at });
        }
        course
    }

    /// Plays until the session has ended, or nothing can happen any more.
    pub(super) fn run(&mut self) {
        loop {
            self.settle();
            if self.end.is_some() {
                return;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { return };
            self.now = at;
            self.happen(event);
        }
    }

    /// Does everything that needs no time.
    fn settle(&mut self) {
        while self.end.is_none() {
            if let Some(row) = self.undecided.pop_first() {
                self.decide(row);
            } else if self.open == 0 {
                self.close();
            } else if !self.start_next() {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ends { row, attempt } => self.ends(row, attempt),
            Event::Wakes { row, attempt } => self.wakes(row, attempt),
            Event::Expires { row, again } => self.expires(row, again),
            Event::StartLimit { row, attempt } => self.not_started(row, attempt),
            Event::Signal { stub } => self.signal(stub),
            Event::Deadline => self.out_of_time(),
            Event::FinallyLimit => self.finally_out_of_time(),
        }
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.set += 1;
        self.events.push(Reverse((at, self.set, event)));
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now.saturating_add(ms), event);
    }

    /// Whether a worker is free.
    pub(super) fn has_room(&self) -> bool {
        self.workers.is_none_or(|workers| self.busy < workers)
    }

    /// Lays down the rows of a block, of an item with the item's own row in front, and returns the
    /// first of them.
    pub(super) fn lay(
        &mut self,
        block: BlockIndex,
        item: Option<(usize, (String, Value))>,
    ) -> usize {
        let plan = self.plan;
        let base = self.rows.len();
        let owner = plan.block(block).owner;
        if let (Some((group, item)), Some(owner)) = (item, owner) {
            let children = plan.group(owner).map_or(0, |group| group.children.len());
            let mut row = Row::new(owner, Some(group), base, i32::try_from(children).unwrap_or(0));
            row.item = Some(item);
            row.state = TaskState::Blocked;
            row.reason = Some(Reason::Children);
            row.begun_at = Some(self.now);
            self.rows.push(row);
        }
        // An item that takes locks has them at once: nothing else is played that could hold them.
        let unlocked = owner.filter(|owner| plan.locks_items(*owner));
        let row_of =
            |node: NodeIndex| base + usize::try_from(plan.node(node).position).unwrap_or_default();
        for index in &plan.block(block).nodes {
            let node = plan.node(*index);
            let parent = match node.parent {
                Some(parent) if plan.node(parent).block == block => Some(row_of(parent)),
                Some(_) => Some(base),
                None => None,
            };
            let waits_for_locks = unlocked.is_some() && node.parent == unlocked;
            let needs = i32::try_from(node.needs.len()).unwrap_or(i32::MAX);
            let blockers = if waits_for_locks { needs } else { node.blockers(plan) };
            let mut row = Row::new(*index, parent, base, blockers);
            row.dependents = node.dependents.iter().map(|dependent| row_of(*dependent)).collect();
            if row.blockers == 0 {
                self.undecided.insert(self.rows.len());
            }
            self.rows.push(row);
        }
        base
    }

    /// Ends a row; unless it is quiet, what waited for it hears of it.
    pub(super) fn end(&mut self, at: usize, state: TaskState, reason: Option<Reason>, quiet: bool) {
        let row = &mut self.rows[at];
        if row.state.is_final() {
            return;
        }
        (row.state, row.reason, row.finished_at) = (state, reason, Some(self.now));
        if std::mem::take(&mut row.holds_worker) {
            self.busy -= 1;
            self.freed = Some(at);
        }
        self.undecided.remove(&at);
        self.count(at);
        if state == TaskState::Completed {
            self.write_context(at);
        }
        let (parent, dependents) = (self.rows[at].parent, self.rows[at].dependents.clone());
        let is_item = self.rows[at].item.is_some();
        let may_fail = !is_item && self.plan.node(self.rows[at].node).continue_on_failure;
        let is_failed = state == TaskState::Failed && !may_fail;
        if !quiet {
            let good = state == TaskState::Completed || (state == TaskState::Failed && may_fail);
            let is_bad = is_failed
                || state == TaskState::Cancelled
                || (state == TaskState::Skipped && reason == Some(Reason::UpstreamFailed));
            for dependent in dependents {
                self.need_ended(dependent, at, good, is_bad);
            }
            if let Some(parent) = parent {
                self.child_ended(parent, at, is_failed || state == TaskState::Cancelled);
            }
        }
        if self.plan.fail_fast && self.phase == Phase::Tasks && self.bad > 0 && !self.swept {
            self.swept = true;
            self.cancel_open(Reason::FailFast);
        }
    }

    /// Counts the end of a row for the session.
    fn count(&mut self, at: usize) {
        let row = &self.rows[at];
        let node = self.plan.node(row.node);
        if row.parent.is_none() {
            self.open -= 1;
        }
        let is_item = row.item.is_some();
        let around = if is_item { Some(row.node) } else { node.parent };
        let by_group = around.is_some_and(|group| self.plan.is_failure_allowed(group));
        let allowed = by_group || (!is_item && node.continue_on_failure);
        match row.state {
            TaskState::Failed if allowed => self.allowed += 1,
            TaskState::Cancelled if by_group => self.allowed += 1,
            TaskState::Failed | TaskState::Cancelled => self.bad += 1,
            TaskState::Pending
            | TaskState::Ready
            | TaskState::Assigned
            | TaskState::InProgress
            | TaskState::Blocked
            | TaskState::Paused
            | TaskState::Completed
            | TaskState::Skipped => {}
        }
    }

    /// A need of a row, or what it waited for to begin, has ended.
    pub(super) fn need_ended(&mut self, at: usize, need: usize, good: bool, is_bad: bool) {
        let row = &mut self.rows[at];
        if row.state != TaskState::Pending {
            return;
        }
        row.blockers -= 1;
        row.bad += i32::from(is_bad);
        row.after.push(need);
        let is_any = self.plan.node(row.node).join == crate::plan::Join::Any;
        if row.blockers == 0 || (is_any && good) {
            self.undecided.insert(at);
        }
    }

    fn child_ended(&mut self, group: usize, child: usize, is_bad: bool) {
        let row = &mut self.rows[group];
        if !row.waits_for_children() {
            return;
        }
        row.blockers -= 1;
        row.bad += i32::from(is_bad);
        row.after.push(child);
        if row.blockers == 0 {
            self.undecided.insert(group);
        }
        let has_more =
            self.fans.get(&group).is_some_and(|fan| !fan.is_loop && !fan.left.is_empty());
        if has_more {
            self.lay_next(group, Some(child));
        }
    }

    /// Lays down the next item or round of a group.
    pub(super) fn lay_next(&mut self, group: usize, after: Option<usize>) {
        let Some(item) = self.fans.get_mut(&group).and_then(|fan| fan.left.pop()) else { return };
        let block = self.plan.group(self.rows[group].node).and_then(Group::block);
        let Some(block) = block else { return };
        let first = self.lay(block, Some((group, item)));
        self.rows[first].after.extend(after);
        if let Some(fan) = self.fans.get_mut(&group) {
            fan.firsts.push(first);
        }
    }

    /// Cancels what is open, but not what waits for the result.
    pub(super) fn cancel_open(&mut self, reason: Reason) {
        let in_tasks = self.phase == Phase::Tasks;
        for at in 0..self.rows.len() {
            if !(in_tasks && self.plan.node(self.rows[at].node).finally) {
                self.end(at, TaskState::Cancelled, Some(reason), true);
            }
        }
        self.queue.clear();
    }
}
