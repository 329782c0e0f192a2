//! What a retry opens inside a group waits again for what the group needs: a group that had begun
//! goes on only when those of its needs that are open again have ended, and its locks are its own
//! again.

use std::collections::{HashMap, HashSet};

use super::{EndedRow, Reopened};
use crate::task::TaskState;

/// Holds back groups whose needs are open again, and what stands in them; returns those groups, and
/// the rows that wait for one of them to go on. `open_needs` gives how many needs of a row are open.
pub(super) fn hold_back(
    rows: &[EndedRow],
    opened: &mut [Reopened],
    open_needs: impl Fn(i32) -> i32,
) -> (HashSet<i32>, HashSet<i32>) {
    let by_seq: HashMap<i32, &EndedRow> = rows.iter().map(|row| (row.seq, row)).collect();
    // Of groups and items that go on, whether they are held back themselves.
    let mut goes_on: HashMap<i32, bool> = HashMap::new();
    let (mut held, mut gated) = (HashSet::new(), HashSet::new());
    // Rows stand behind what they are in, so whatever is around a row has been looked at.
    opened.sort_unstable_by_key(|row| row.seq);
    for row in opened {
        let Some(ended) = by_seq.get(&row.seq) else { continue };
        let around = ended.parent.and_then(|parent| goes_on.get(&parent)).copied();
        let is_inside = around == Some(true);
        let had_begun = row.state == TaskState::Blocked;
        let needs = if had_begun { open_needs(row.seq) } else { 0 };
        if needs > 0 {
            goes_on.insert(row.seq, true);
            held.insert(row.seq);
            hold(row, needs);
        } else if had_begun && ended.locks {
            // Others may have taken its locks meanwhile.
            goes_on.insert(row.seq, true);
            held.insert(row.seq);
            if is_inside {
                gated.insert(row.seq);
            }
            hold(row, i32::from(is_inside));
            row.undecided = !is_inside;
        } else if had_begun && is_inside && (ended.unlaid > 0 || row.undecided) {
            // It would lay down items, which would run; or nothing is open in it, and it would end.
            goes_on.insert(row.seq, true);
            held.insert(row.seq);
            gated.insert(row.seq);
            hold(row, 1);
        } else if had_begun {
            goes_on.insert(row.seq, is_inside);
        } else if is_inside && (row.state == TaskState::Ready || row.undecided) {
            gated.insert(row.seq);
            hold(row, row.blockers + 1);
        }
        if held.contains(&row.seq) {
            // What stands in it is looked at when it goes on.
            row.bad = 0;
        }
    }
    (held, gated)
}

fn hold(row: &mut Reopened, blockers: i32) {
    row.state = TaskState::Pending;
    row.undecided = false;
    row.blockers = blockers;
}

#[cfg(test)]
mod tests {
    use super::super::{Asked, EndedRow, RowKind, reopen, tests::row};
    use crate::task::TaskState;

    /// `1 → 2 { 3, 4 → 5 }`, of which 1 and 3 failed.
    fn a_group_behind_an_allowed_failure() -> [EndedRow; 5] {
        let mut need = row(1, TaskState::Failed, &[2]);
        need.continue_on_failure = true;
        let mut group = row(2, TaskState::Failed, &[]);
        group.kind = RowKind::PlainGroup;
        group.begun = true;
        group.plain = false;
        let inside = |seq, state, dependents: &[i32]| {
            let mut row = row(seq, state, dependents);
            row.parent = Some(2);
            row
        };
        let [failed, ready] =
            [inside(3, TaskState::Failed, &[]), inside(4, TaskState::Failed, &[5])];
        [need, group, failed, ready, inside(5, TaskState::Failed, &[])]
    }

    #[test]
    fn what_stands_in_a_group_waits_for_the_open_needs_of_the_group() {
        let rows = a_group_behind_an_allowed_failure();
        let reopening = reopen(&rows, &Asked::default()).unwrap();
        let rows: Vec<_> =
            reopening.opened.iter().map(|row| (row.seq, row.state, row.blockers)).collect();
        let (pending, ready) = (TaskState::Pending, TaskState::Ready);
        assert_eq!(
            rows,
            [(1, ready, 0), (2, pending, 1), (3, pending, 1), (4, pending, 1), (5, pending, 1)]
        );
        assert_eq!(reopening.held, [2].into());
        assert_eq!(reopening.gated, [3, 4].into(), "5 waits for 4 only");
    }

    #[test]
    fn what_has_nothing_open_in_it_ends_only_when_the_group_around_it_goes_on() {
        let mut rows = a_group_behind_an_allowed_failure().to_vec();
        rows.truncate(4);
        rows[1].state = TaskState::Cancelled;
        (rows[2].kind, rows[2].state, rows[2].begun) = (RowKind::Loop, TaskState::Cancelled, true);
        (rows[3].kind, rows[3].state, rows[3].begun) = (RowKind::Item, TaskState::Cancelled, true);
        (rows[3].parent, rows[3].dependents) = (Some(3), Vec::new());
        let mut done = row(5, TaskState::Completed, &[]);
        done.parent = Some(4);
        rows.push(done);
        let reopening = reopen(&rows, &Asked::default()).unwrap();
        let rows: Vec<_> = reopening
            .opened
            .iter()
            .map(|row| (row.seq, row.state, row.blockers, row.undecided))
            .collect();
        let (pending, blocked) = (TaskState::Pending, TaskState::Blocked);
        let open = [(2, pending, 1, false), (3, blocked, 1, false), (4, pending, 1, false)];
        assert_eq!(rows[1..], open);
        assert_eq!(reopening.gated, [4].into());
    }
}
