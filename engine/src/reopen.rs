//! A retry of a session: which of its ended rows are opened again, and how each waits then. Rows
//! come in, rows go out; it does not know how they are stored.

mod gates;

use std::collections::{HashMap, HashSet};

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

/// What becomes of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reopening {
    pub opened: Vec<Reopened>,
    /// Rows of items that are laid down anew, because their group begins anew.
    pub dropped: Vec<i32>,
    /// Groups that had begun and wait for needs that are open again before they go on.
    pub held: HashSet<i32>,
    /// Rows that wait for such a group to go on.
    pub gated: HashSet<i32>,
}

/// A row that is open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopened {
    pub seq: i32,
    /// Pending, ready, or blocked (a group that had begun waits for its children).
    pub state: TaskState,
    pub blockers: i32,
    /// The control loop has to decide it.
    pub undecided: bool,
    /// What it was before.
    pub was: TaskState,
}

/// Opens what failed, was cancelled, or was skipped because of that, and every group around it.
/// What is done stays done unless it was undone, except that a loop which ran out of rounds runs its last one again.
pub fn reopen(rows: &[EndedRow]) -> Reopening {
    let by_seq: HashMap<i32, &EndedRow> = rows.iter().map(|row| (row.seq, row)).collect();
    let mut open = open_rows(rows, &by_seq);
    let (again, dropped) = rounds_again(rows, &open);
    open.extend(&again);
    let mut waits: HashMap<i32, Waits> = HashMap::new();
    for row in rows {
        let is_open = open.contains(&row.seq);
        for dependent in &row.dependents {
            waits.entry(*dependent).or_default().need(row, is_open);
        }
        if let Some(parent) = row.parent {
            waits.entry(parent).or_default().open_children += i32::from(is_open);
        }
    }
    // A group that runs again has not begun.
    let has_begun =
        |row: &EndedRow| row.begun && (row.kind == RowKind::Item || !again.contains(&row.seq));
    let mut opened: Vec<Reopened> =
        rows.iter()
            .filter(|row| open.contains(&row.seq))
            .map(|row| {
                let waits = waits.get(&row.seq).copied().unwrap_or_default();
                let waits_for_group = waits.needs == 0
                    && row.parent.and_then(|parent| by_seq.get(&parent)).is_some_and(|parent| {
                        parent.kind == RowKind::PlainGroup && !has_begun(parent)
                    });
                reopened(row, has_begun(row), waits, waits_for_group)
            })
            .collect();
    let open_needs = |seq| waits.get(&seq).map_or(0, |waits| waits.open_needs);
    let (held, gated) = gates::hold_back(rows, &mut opened, open_needs);
    Reopening { opened, dropped, held, gated }
}

/// The last rounds of loops that failed although nothing in them did, and everything in these
/// rounds; and the rows of items in them, which are laid down anew.
fn rounds_again(rows: &[EndedRow], open: &HashSet<i32>) -> (HashSet<i32>, Vec<i32>) {
    let mut again = HashSet::new();
    let mut dropped = Vec::new();
    let is_at_its_end =
        |row: &&EndedRow| row.kind == RowKind::Loop && row.begun && row.state == TaskState::Failed;
    let loops: Vec<&EndedRow> = rows.iter().filter(is_at_its_end).collect();
    if loops.is_empty() {
        return (again, dropped);
    }
    let mut children: HashMap<i32, Vec<&EndedRow>> = HashMap::new();
    for row in rows {
        children.entry(row.parent.unwrap_or_default()).or_default().push(row);
    }
    let below = |seq: i32| children.get(&seq).into_iter().flatten().copied();
    for group in loops {
        if below(group.seq).any(|round| open.contains(&round.seq)) {
            continue;
        }
        let Some(last) = below(group.seq).max_by_key(|round| round.seq) else { continue };
        let mut inside = vec![(last, false)];
        while let Some((row, is_dropped)) = inside.pop() {
            if is_dropped {
                dropped.push(row.seq);
            } else {
                again.insert(row.seq);
            }
            let lays_anew = matches!(row.kind, RowKind::ForEachGroup | RowKind::Loop);
            inside.extend(below(row.seq).map(|row| (row, is_dropped || lays_anew)));
        }
    }
    (again, dropped)
}

/// What a row waits for when the session is open again.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    needs: i32,
    open_needs: i32,
    any_good: bool,
    open_children: i32,
}

impl Waits {
    fn need(&mut self, need: &EndedRow, is_open: bool) {
        self.needs += 1;
        self.open_needs += i32::from(is_open);
        self.any_good |= !is_open
            && (need.state == TaskState::Completed
                || (need.state == TaskState::Failed && need.continue_on_failure));
    }
}

fn open_rows(rows: &[EndedRow], by_seq: &HashMap<i32, &EndedRow>) -> HashSet<i32> {
    let mut open = HashSet::new();
    for row in rows.iter().filter(|row| ended_badly(row)) {
        let mut next = Some(row.seq);
        while let Some(seq) = next.filter(|seq| open.insert(*seq)) {
            next = by_seq.get(&seq).and_then(|row| row.parent);
        }
    }
    open
}

fn ended_badly(row: &EndedRow) -> bool {
    match row.state {
        TaskState::Completed if row.undone => true,
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
    if row.kind == RowKind::Item || (row.kind != RowKind::Task && begun) {
        let blockers = waits.open_children + row.unlaid;
        return Reopened {
            seq,
            state: TaskState::Blocked,
            blockers,
            undecided: blockers == 0,
            was,
        };
    }
    let blockers = waits.open_needs + i32::from(waits_for_group);
    let goes = blockers == 0 || (row.join == Join::Any && waits.any_good);
    let state = if goes && row.plain { TaskState::Ready } else { TaskState::Pending };
    Reopened { seq, state, blockers, undecided: goes && !row.plain, was }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn row(seq: i32, state: TaskState, dependents: &[i32]) -> EndedRow {
        EndedRow {
            seq,
            parent: None,
            state,
            reason: None,
            kind: RowKind::Task,
            join: Join::All,
            plain: true,
            continue_on_failure: false,
            dependents: dependents.to_vec(),
            begun: false,
            undone: false,
            unlaid: 0,
        }
    }

    #[test]
    fn what_failed_is_ready_again_and_what_it_held_up_waits_for_it() {
        let mut skipped = row(3, TaskState::Skipped, &[]);
        skipped.reason = Some(Reason::UpstreamFailed);
        let rows =
            [row(1, TaskState::Completed, &[2, 3]), row(2, TaskState::Failed, &[3]), skipped];
        let opened: Vec<_> =
            reopen(&rows).opened.iter().map(|r| (r.seq, r.state, r.blockers)).collect();
        assert_eq!(opened, [(2, TaskState::Ready, 0), (3, TaskState::Pending, 1)]);
    }

    #[test]
    fn a_group_that_had_begun_waits_for_the_children_that_are_open_again() {
        let mut group = row(1, TaskState::Completed, &[]);
        group.kind = RowKind::PlainGroup;
        group.begun = true;
        let mut child = row(2, TaskState::Failed, &[]);
        child.parent = Some(1);
        child.continue_on_failure = true;
        let opened = reopen(&[group, child]).opened;
        assert_eq!((opened[0].state, opened[0].blockers), (TaskState::Blocked, 1));
        assert_eq!((opened[1].state, opened[1].blockers), (TaskState::Ready, 0));
    }
}
