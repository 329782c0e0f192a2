//! A retry of a session: which of its ended rows are opened again, and how each waits then. Rows
//! come in, rows go out; it does not know how they are stored.

mod fan_outs;
mod gates;

use std::collections::{HashMap, HashSet};

use thiserror::Error;

use crate::{
    plan::Join,
    task::{Reason, TaskState},
};

/// A row of an ended session.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing of the row")]
pub struct EndedRow {
    pub seq: i32,
    pub parent: Option<i32>,
    pub state: TaskState,
    pub reason: Option<Reason>,
    pub kind: RowKind,
    pub join: Join,
    /// May become ready without a decision of the control loop.
    pub plain: bool,
    pub continue_on_failure: bool,
    pub dependents: Vec<i32>,
    /// Of a group: it had begun, so its rows are laid down and its condition is decided.
    pub begun: bool,
    /// It completed, and was undone after that.
    pub undone: bool,
    /// Of a `for_each` group: items that were never laid down.
    pub unlaid: i32,
    /// It takes locks, which went back when it ended.
    pub locks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    Task,
    /// A group whose rows stand beside it.
    PlainGroup,
    ForEachGroup,
    /// A group whose rows stand in rounds.
    Loop,
    Item,
}

/// What a person asks of a retry, besides opening again what ended badly. Rows by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// These run again, and all that need them.
    pub from: Vec<i32>,
    /// Of fan-outs among these only the items that failed.
    pub only_failed_items: bool,
    /// These count as completed with outputs that were given; what needs them runs again.
    pub completed: Vec<i32>,
    /// These count as skipped, which satisfies what needs them.
    pub skipped: Vec<i32>,
}

/// Why rows cannot be opened as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("outputs can be set for a task, not for a group or an item")]
    OutputsOfGroup,
    #[error("a task that has completed cannot be skipped")]
    SkipsCompleted,
    #[error("a task cannot both be given outputs and be skipped")]
    Contradiction,
    #[error("a task cannot be given an end inside items that are laid down anew")]
    LaidDownAnew,
}

/// What becomes of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reopening {
    pub opened: Vec<Reopened>,
    /// Rows of items that are laid down anew, because their group begins anew.
    pub dropped: Vec<i32>,
    /// Groups that had begun and wait, for needs that are open again or for locks, before they go on.
    pub held: HashSet<i32>,
    /// Rows that wait for such a group to go on.
    pub gated: HashSet<i32>,
    /// Rows that are skipped by hand.
    pub skipped: Vec<i32>,
}

/// A row that is open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopened {
    pub seq: i32,
    /// Pending, ready, or blocked (a group that had begun waits for its children).
    pub state: TaskState,
    pub blockers: i32,
    /// What it waited for that ended badly and stays so, as it may in a fork.
    pub bad: i32,
    /// The control loop has to decide it.
    pub undecided: bool,
    /// What it was before.
    pub was: TaskState,
}

/// Opens what failed, was cancelled, or was skipped because of that, and every group around it, and
/// what is asked for. What is done stays done, except for what was undone or is asked for, with all
/// that needs it; and a loop which ran out of rounds runs its last one again.
pub fn reopen(rows: &[EndedRow], asked: &Asked) -> Result<Reopening, Refusal> {
    let table = Table::of(rows);
    let skipped = table.skipped(asked)?;
    let left_out = asked.skipped.iter().flat_map(|seq| table.inside(*seq)).map(|row| row.seq);
    let ended: HashSet<i32> =
        skipped.iter().chain(&asked.completed).copied().chain(left_out).collect();
    let spread = table.spread(asked, &ended);
    let mut open = table.with_groups(|row| ended_badly(row) && !ended.contains(&row.seq));
    open.extend(spread.around);
    open.extend(&spread.again);
    let (mut again, mut dropped) = table.rounds_again(&open);
    again.extend(spread.again);
    dropped.extend(spread.dropped);
    let is_gone = |seq: &i32| dropped.contains(seq);
    if asked.completed.iter().chain(&asked.skipped).any(is_gone) {
        return Err(Refusal::LaidDownAnew);
    }
    open.extend(&again);
    open.retain(|seq| !dropped.contains(seq) && !ended.contains(seq));
    let (mut opened, waits) = table.opened(&open, &again, asked);
    let open_needs = |seq| waits.get(&seq).map_or(0, |waits| waits.open_needs);
    let (held, gated) = gates::hold_back(rows, &mut opened, open_needs);
    Ok(Reopening { opened, dropped: dropped.into_iter().collect(), skipped, held, gated })
}

/// What of a session that is forked at a row runs in the new one: the row and what was undone, with
/// all that needs them, and what has not ended. Everything else is shared as it is.
pub fn fork(rows: &[EndedRow], at: i32) -> Reopening {
    let table = Table::of(rows);
    let asked = Asked { from: vec![at], ..Asked::default() };
    let Spread { again, around, dropped } = table.spread(&asked, &HashSet::new());
    let mut open = table.with_groups(|row| !row.state.is_final());
    open.extend(around);
    open.extend(&again);
    open.retain(|seq| !dropped.contains(seq));
    let (mut opened, _) = table.opened(&open, &again, &asked);
    // What a group that has begun needs has ended there; it may have to take its locks.
    let (held, gated) = gates::hold_back(rows, &mut opened, |_| 0);
    let dropped = dropped.into_iter().collect();
    Reopening { opened, dropped, held, gated, ..Reopening::default() }
}

/// The rows of a session, and how they stand to each other.
struct Table<'a> {
    rows: &'a [EndedRow],
    by_seq: HashMap<i32, &'a EndedRow>,
    children: HashMap<i32, Vec<&'a EndedRow>>,
}

/// How far what is asked for reaches.
#[derive(Default)]
struct Spread {
    /// Rows that run again.
    again: HashSet<i32>,
    /// Groups and items around them, which go on.
    around: HashSet<i32>,
    dropped: HashSet<i32>,
}

impl<'a> Table<'a> {
    fn of(rows: &'a [EndedRow]) -> Self {
        let mut children: HashMap<i32, Vec<&EndedRow>> = HashMap::new();
        for row in rows {
            children.entry(row.parent.unwrap_or_default()).or_default().push(row);
        }
        Self { rows, by_seq: rows.iter().map(|row| (row.seq, row)).collect(), children }
    }

    fn below(&self, seq: i32) -> impl Iterator<Item = &'a EndedRow> + use<'a, '_> {
        self.children.get(&seq).into_iter().flatten().copied()
    }

    /// Everything in a row, at any depth.
    fn inside(&self, seq: i32) -> Vec<&'a EndedRow> {
        let mut found: Vec<&EndedRow> = self.below(seq).collect();
        let mut at = 0;
        while let Some(row) = found.get(at) {
            found.extend(self.below(row.seq));
            at += 1;
        }
        found
    }

    /// The groups and items around a row, from inside out.
    fn around(&self, row: &EndedRow) -> Vec<&'a EndedRow> {
        let mut found = Vec::new();
        let mut next = row.parent;
        while let Some(parent) = next.and_then(|seq| self.by_seq.get(&seq)) {
            found.push(*parent);
            next = parent.parent;
        }
        found
    }

    /// What is skipped by hand: what is asked for, and what has not completed in it.
    fn skipped(&self, asked: &Asked) -> Result<Vec<i32>, Refusal> {
        let rows = |seqs: &[i32]| -> Vec<&EndedRow> {
            seqs.iter().filter_map(|seq| self.by_seq.get(seq).copied()).collect()
        };
        if rows(&asked.completed).iter().any(|row| row.kind != RowKind::Task) {
            return Err(Refusal::OutputsOfGroup);
        }
        let mut skipped = Vec::new();
        for row in rows(&asked.skipped) {
            if row.state == TaskState::Completed {
                return Err(Refusal::SkipsCompleted);
            }
            skipped.push(row.seq);
            let is_open = |row: &&EndedRow| row.state != TaskState::Completed;
            skipped.extend(self.inside(row.seq).into_iter().filter(is_open).map(|row| row.seq));
        }
        if asked.completed.iter().any(|seq| skipped.contains(seq)) {
            return Err(Refusal::Contradiction);
        }
        Ok(skipped)
    }

    fn spread(&self, asked: &Asked, ended: &HashSet<i32>) -> Spread {
        let mut spread = Spread::default();
        let undone = self.rows.iter().filter(|row| row.undone).map(|row| row.seq);
        let mut next: Vec<i32> = asked.from.iter().copied().chain(undone).collect();
        for row in asked.completed.iter().filter_map(|seq| self.by_seq.get(seq)) {
            next.extend(&row.dependents);
            next.extend(self.around(row).iter().flat_map(|group| &group.dependents));
        }
        while let Some(seq) = next.pop() {
            let Some(row) = self.by_seq.get(&seq).filter(|_| !ended.contains(&seq)) else {
                continue;
            };
            if !spread.again.insert(seq) {
                continue;
            }
            next.extend(&row.dependents);
            match row.kind {
                RowKind::Task => {}
                RowKind::PlainGroup | RowKind::Item => {
                    next.extend(self.below(seq).map(|row| row.seq));
                }
                RowKind::ForEachGroup | RowKind::Loop => {
                    spread.dropped.extend(self.inside(seq).iter().map(|row| row.seq));
                }
            }
            for group in self.around(row) {
                next.extend(&group.dependents);
                next.extend(self.loop_that_went_on(group));
                if group.begun || group.kind == RowKind::Item {
                    spread.around.insert(group.seq);
                } else {
                    next.push(group.seq);
                }
            }
        }
        if asked.only_failed_items {
            self.keep_good_items(&mut spread);
        }
        spread
    }

    /// The loop around a round that is not its last: it begins anew, because what follows the round
    /// was decided by it.
    fn loop_that_went_on(&self, round: &EndedRow) -> Option<i32> {
        let group = round.parent.and_then(|parent| self.by_seq.get(&parent))?;
        let went_on =
            group.kind == RowKind::Loop && self.below(group.seq).any(|other| other.seq > round.seq);
        went_on.then_some(group.seq)
    }

    /// Some rows, and every group and item around them.
    fn with_groups(&self, which: impl Fn(&EndedRow) -> bool) -> HashSet<i32> {
        let mut open = HashSet::new();
        for row in self.rows.iter().filter(|row| which(row)) {
            let mut next = Some(row.seq);
            while let Some(seq) = next.filter(|seq| open.insert(*seq)) {
                next = self.by_seq.get(&seq).and_then(|row| row.parent);
            }
        }
        open
    }

    /// The rows as they are opened, and what each row waits for.
    fn opened(
        &self,
        open: &HashSet<i32>,
        again: &HashSet<i32>,
        asked: &Asked,
    ) -> (Vec<Reopened>, HashMap<i32, Waits>) {
        let mut waits: HashMap<i32, Waits> = HashMap::new();
        for row in self.rows {
            let is_open = open.contains(&row.seq);
            let has_end = asked.completed.contains(&row.seq) || asked.skipped.contains(&row.seq);
            let is_good = asked.completed.contains(&row.seq) || (!has_end && is_good(row));
            for dependent in &row.dependents {
                let waits = waits.entry(*dependent).or_default();
                waits.need(is_good, is_open);
                waits.bad_needs += i32::from(!is_open && !has_end && is_bad_need(row));
            }
            if let Some(parent) = row.parent {
                let waits = waits.entry(parent).or_default();
                waits.open_children += i32::from(is_open);
                waits.bad_children += i32::from(!is_open && !has_end && is_bad_child(row));
            }
        }
        let lets_go = |group: &EndedRow| {
            group.kind == RowKind::PlainGroup || (group.kind == RowKind::Item && group.locks)
        };
        // Of a group that is to begin something may be done nevertheless: it was given an end by hand,
        // or a fork shares it. Such a group goes on with the rest.
        let has_done = |group: &EndedRow| {
            lets_go(group) && self.below(group.seq).any(|child| !open.contains(&child.seq))
        };
        // A group that runs again has not begun.
        let has_begun = |row: &EndedRow| {
            (row.begun && (row.kind == RowKind::Item || !again.contains(&row.seq))) || has_done(row)
        };
        let reopened = |row: &EndedRow| {
            let waits = waits.get(&row.seq).copied().unwrap_or_default();
            let group = row.parent.and_then(|parent| self.by_seq.get(&parent));
            let waits_for_group =
                waits.needs == 0 && group.is_some_and(|group| lets_go(group) && !has_begun(group));
            reopened(row, has_begun(row), waits, waits_for_group)
        };
        let opened = self.rows.iter().filter(|row| open.contains(&row.seq)).map(reopened).collect();
        (opened, waits)
    }

    /// The last rounds of loops that failed although nothing in them did, and everything in these
    /// rounds; and the rows of items in them, which are laid down anew.
    fn rounds_again(&self, open: &HashSet<i32>) -> (HashSet<i32>, HashSet<i32>) {
        let (mut again, mut dropped) = (HashSet::new(), HashSet::new());
        let is_at_its_end = |row: &&EndedRow| {
            row.kind == RowKind::Loop
                && row.begun
                && row.state == TaskState::Failed
                && open.contains(&row.seq)
        };
        for group in self.rows.iter().filter(is_at_its_end) {
            if self.below(group.seq).any(|round| open.contains(&round.seq)) {
                continue;
            }
            let Some(last) = self.below(group.seq).max_by_key(|round| round.seq) else { continue };
            let mut inside = vec![(last, false)];
            while let Some((row, is_dropped)) = inside.pop() {
                if is_dropped {
                    dropped.insert(row.seq);
                } else {
                    again.insert(row.seq);
                }
                let lays_anew = matches!(row.kind, RowKind::ForEachGroup | RowKind::Loop);
                inside.extend(self.below(row.seq).map(|row| (row, is_dropped || lays_anew)));
            }
        }
        (again, dropped)
    }
}

/// What a row waits for when the session is open again.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    needs: i32,
    open_needs: i32,
    any_good: bool,
    bad_needs: i32,
    open_children: i32,
    bad_children: i32,
}

impl Waits {
    fn need(&mut self, is_good: bool, is_open: bool) {
        self.needs += 1;
        self.open_needs += i32::from(is_open);
        self.any_good |= !is_open && is_good;
    }
}

fn is_good(row: &EndedRow) -> bool {
    row.state == TaskState::Completed || (row.state == TaskState::Failed && row.continue_on_failure)
}

/// Whether what needs it is not to run.
fn is_bad_need(row: &EndedRow) -> bool {
    is_bad_child(row)
        || (row.state == TaskState::Skipped && row.reason == Some(Reason::UpstreamFailed))
}

/// Whether the group around it fails.
fn is_bad_child(row: &EndedRow) -> bool {
    row.state == TaskState::Cancelled
        || (row.state == TaskState::Failed && !row.continue_on_failure)
}

fn ended_badly(row: &EndedRow) -> bool {
    match row.state {
        TaskState::Failed | TaskState::Cancelled => true,
        TaskState::Skipped => row.reason == Some(Reason::UpstreamFailed),
        TaskState::Pending
        | TaskState::Ready
        | TaskState::Assigned
        | TaskState::InProgress
        | TaskState::Blocked
        | TaskState::Paused
        | TaskState::Completed => false,
    }
}

fn reopened(row: &EndedRow, begun: bool, waits: Waits, waits_for_group: bool) -> Reopened {
    let was = row.state;
    let seq = row.seq;
    let is_item = row.kind == RowKind::Item && !row.locks;
    if is_item || (row.kind != RowKind::Task && begun) {
        let blockers = waits.open_children + row.unlaid;
        return Reopened {
            seq,
            state: TaskState::Blocked,
            blockers,
            bad: waits.bad_children,
            undecided: blockers == 0,
            was,
        };
    }
    let blockers = waits.open_needs + i32::from(waits_for_group);
    let goes = blockers == 0 || (row.join == Join::Any && waits.any_good);
    // It may run by itself only if what it needs lets it.
    let is_refused = match row.join {
        Join::Any => waits.needs > 0 && !waits.any_good,
        Join::All => waits.bad_needs > 0,
        Join::AllDone => false,
    };
    let runs = row.plain && !is_refused;
    let state = if goes && runs { TaskState::Ready } else { TaskState::Pending };
    Reopened { seq, state, blockers, bad: waits.bad_needs, undecided: goes && !runs, was }
}

#[cfg(test)]
mod tests;
