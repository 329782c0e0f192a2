//! Which rows a retry or a fork opens, and how each waits then.

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
        locks: false,
    }
}

fn open(rows: &[EndedRow]) -> Vec<Reopened> {
    reopen(rows, &Asked::default()).unwrap().opened
}

/// A fan-out at 2 with two items, of which the second failed, between tasks 1 and 7.
fn fan_out() -> Vec<EndedRow> {
    let mut group = row(2, TaskState::Failed, &[7]);
    group.kind = RowKind::ForEachGroup;
    group.begun = true;
    let mut rows = vec![row(1, TaskState::Completed, &[2]), group];
    for (item, state) in [(3, TaskState::Completed), (5, TaskState::Failed)] {
        let mut outer = row(item, state, &[]);
        outer.kind = RowKind::Item;
        outer.begun = true;
        outer.parent = Some(2);
        let mut inner = row(item + 1, state, &[]);
        inner.parent = Some(item);
        rows.extend([outer, inner]);
    }
    let mut after = row(7, TaskState::Skipped, &[]);
    after.reason = Some(Reason::UpstreamFailed);
    rows.push(after);
    rows
}

fn standing(reopening: &Reopening) -> Vec<(i32, TaskState, i32)> {
    reopening.opened.iter().map(|row| (row.seq, row.state, row.blockers)).collect()
}

#[test]
fn from_a_task_on_all_that_needs_it_runs_again_and_fan_outs_are_laid_down_anew() {
    let asked = Asked { from: vec![1], ..Asked::default() };
    let reopening = reopen(&fan_out(), &asked).unwrap();
    let (ready, pending) = (TaskState::Ready, TaskState::Pending);
    assert_eq!(standing(&reopening), [(1, ready, 0), (2, pending, 1), (7, pending, 1)]);
    let mut dropped = reopening.dropped;
    dropped.sort_unstable();
    assert_eq!(dropped, [3, 4, 5, 6]);
}

#[test]
fn from_a_fan_out_with_failed_items_only_the_others_stay_done() {
    let asked = Asked { from: vec![2], only_failed_items: true, ..Asked::default() };
    let reopening = reopen(&fan_out(), &asked).unwrap();
    let (ready, blocked) = (TaskState::Ready, TaskState::Blocked);
    let open = [(2, blocked, 1), (5, blocked, 1), (6, ready, 0), (7, TaskState::Pending, 1)];
    assert_eq!(standing(&reopening), open);
    assert!(reopening.dropped.is_empty());
}

#[test]
fn from_a_fan_out_without_failed_items_it_stays_done_and_holds_up_who_needs_it() {
    let mut rows = fan_out();
    for row in &mut rows {
        row.state = TaskState::Completed;
    }
    let asked = |from| Asked { from: vec![from], only_failed_items: true, ..Asked::default() };
    let open = |from| standing(&reopen(&rows, &asked(from)).unwrap());
    let (ready, pending) = (TaskState::Ready, TaskState::Pending);
    assert_eq!(open(2), [(7, ready, 0)]);
    assert_eq!(open(1), [(1, ready, 0), (2, pending, 1), (7, pending, 1)]);
    rows[1].dependents.clear();
    let only = reopen(&rows, &asked(2)).unwrap();
    assert!(only.opened.is_empty());
    // One without items looks like a plain group that never began.
    let mut rows = vec![row(2, TaskState::Completed, &[7]), row(7, TaskState::Failed, &[])];
    rows[0].kind = RowKind::PlainGroup;
    assert_eq!(standing(&reopen(&rows, &asked(2)).unwrap()), [(7, ready, 0)]);
    rows[0].dependents.clear();
    rows.pop();
    assert!(reopen(&rows, &asked(2)).unwrap().opened.is_empty());
}

#[test]
fn from_a_task_in_an_item_only_that_item_and_what_needs_the_group_runs_again() {
    let asked = Asked { from: vec![4], ..Asked::default() };
    let mut rows = fan_out();
    for row in &mut rows {
        row.state = TaskState::Completed;
    }
    let (ready, blocked) = (TaskState::Ready, TaskState::Blocked);
    let open = [(2, blocked, 1), (3, blocked, 1), (4, ready, 0), (7, TaskState::Pending, 1)];
    assert_eq!(standing(&reopen(&rows, &asked).unwrap()), open);
}

#[test]
fn a_task_that_is_given_outputs_counts_as_completed_and_what_needs_it_runs_again() {
    let rows = [
        row(1, TaskState::Failed, &[2, 3]),
        row(2, TaskState::Completed, &[]),
        row(3, TaskState::Skipped, &[]),
    ];
    let asked = Asked { completed: vec![1], ..Asked::default() };
    let open = [(2, TaskState::Ready, 0), (3, TaskState::Ready, 0)];
    assert_eq!(standing(&reopen(&rows, &asked).unwrap()), open);
}

#[test]
fn a_skipped_task_lets_what_it_held_up_go() {
    let mut held = row(2, TaskState::Skipped, &[]);
    held.reason = Some(Reason::UpstreamFailed);
    let rows = [row(1, TaskState::Failed, &[2]), held];
    let asked = Asked { skipped: vec![1], ..Asked::default() };
    let reopening = reopen(&rows, &asked).unwrap();
    assert_eq!(standing(&reopening), [(2, TaskState::Ready, 0)]);
    assert_eq!(reopening.skipped, [1]);
}

#[test]
fn a_group_goes_on_without_what_is_skipped_in_it() {
    let asked = Asked { skipped: vec![5], ..Asked::default() };
    let reopening = reopen(&fan_out(), &asked).unwrap();
    assert_eq!(standing(&reopening), [(2, TaskState::Blocked, 0), (7, TaskState::Pending, 1)]);
    assert!(reopening.opened[0].undecided);
    assert_eq!(reopening.skipped, [5, 6]);
}

#[test]
fn a_task_for_which_no_need_completed_is_decided_again_not_run() {
    let mut need = row(1, TaskState::Skipped, &[2]);
    need.reason = Some(Reason::When);
    let mut any = row(2, TaskState::Skipped, &[]);
    (any.join, any.reason) = (Join::Any, Some(Reason::NoNeedCompleted));
    let asked = Asked { from: vec![2], ..Asked::default() };
    let opened = reopen(&[need, any], &asked).unwrap().opened;
    assert_eq!(
        (opened[0].seq, opened[0].state, opened[0].undecided),
        (2, TaskState::Pending, true)
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let asked = |completed: &[i32], skipped: &[i32], from: &[i32]| Asked {
        from: from.to_vec(),
        completed: completed.to_vec(),
        skipped: skipped.to_vec(),
        only_failed_items: false,
    };
    let refused = |asked: Asked| reopen(&fan_out(), &asked).unwrap_err();
    assert_eq!(refused(asked(&[2], &[], &[])), Refusal::OutputsOfGroup);
    assert_eq!(refused(asked(&[], &[1], &[])), Refusal::SkipsCompleted);
    assert_eq!(refused(asked(&[6], &[5], &[])), Refusal::Contradiction);
    assert_eq!(refused(asked(&[6], &[], &[1])), Refusal::LaidDownAnew);
}

#[test]
fn what_failed_is_ready_again_and_what_it_held_up_waits_for_it() {
    let mut skipped = row(3, TaskState::Skipped, &[]);
    skipped.reason = Some(Reason::UpstreamFailed);
    let rows = [row(1, TaskState::Completed, &[2, 3]), row(2, TaskState::Failed, &[3]), skipped];
    let opened: Vec<_> = open(&rows).iter().map(|r| (r.seq, r.state, r.blockers)).collect();
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
    let opened = open(&[group, child]);
    assert_eq!((opened[0].state, opened[0].blockers), (TaskState::Blocked, 1));
    assert_eq!((opened[1].state, opened[1].blockers), (TaskState::Ready, 0));
}

#[test]
fn what_ended_badly_and_is_shared_with_a_fork_counts_there() {
    let (failed, completed) = (TaskState::Failed, TaskState::Completed);
    let mut skipped = row(4, TaskState::Skipped, &[]);
    skipped.reason = Some(Reason::UpstreamFailed);
    let rows = [row(1, failed, &[4]), row(2, completed, &[4]), row(3, completed, &[]), skipped];
    let opened = fork(&rows, 4).opened;
    assert_eq!(
        (opened[0].state, opened[0].bad, opened[0].undecided),
        (TaskState::Pending, 1, true)
    );
    // The first item stays as it is; the second one runs again.
    let mut rows = fan_out();
    rows[2].state = failed;
    let opened = fork(&rows, 6).opened;
    let bad: Vec<_> = opened.iter().map(|row| (row.seq, row.bad)).collect();
    assert_eq!(bad, [(2, 1), (5, 0), (6, 0), (7, 0)]);
}

/// `1 → 2 { 3 → 4, 5 }`, of which 1 failed, so that the group never began.
fn a_group_that_never_began() -> Vec<EndedRow> {
    let mut rows = vec![row(1, TaskState::Failed, &[2])];
    for (seq, dependents) in [(2, vec![]), (3, vec![4]), (4, vec![]), (5, vec![])] {
        let mut skipped = row(seq, TaskState::Skipped, &dependents);
        skipped.reason = Some(Reason::UpstreamFailed);
        skipped.parent = (seq > 2).then_some(2);
        rows.push(skipped);
    }
    (rows[1].kind, rows[1].plain) = (RowKind::PlainGroup, false);
    rows
}

#[test]
fn a_group_of_which_something_is_done_before_it_begins_waits_for_the_rest_only() {
    let pending = TaskState::Pending;
    let whole = reopen(&a_group_that_never_began(), &Asked::default()).unwrap();
    assert_eq!(
        standing(&whole)[1..],
        [(2, pending, 1), (3, pending, 1), (4, pending, 1), (5, pending, 1)]
    );
    assert_eq!((whole.held.len(), whole.gated.len()), (0, 0));
    let asked = Asked { completed: vec![3], ..Asked::default() };
    let reopening = reopen(&a_group_that_never_began(), &asked).unwrap();
    assert_eq!(standing(&reopening)[1..], [(2, pending, 1), (4, pending, 1), (5, pending, 1)]);
    assert_eq!((reopening.held, reopening.gated), ([2].into(), [4, 5].into()));
}

#[test]
fn an_item_that_never_had_its_locks_goes_on_in_a_fork_without_what_is_shared() {
    let mut rows = fan_out();
    for row in &mut rows[3..6] {
        row.state = TaskState::Cancelled;
    }
    (rows[4].locks, rows[4].begun) = (true, false);
    let mut beside = row(8, TaskState::Cancelled, &[]);
    beside.parent = Some(5);
    rows.insert(6, beside);
    let reopening = fork(&rows, 6);
    assert_eq!(reopening.held, [5].into());
    let item = reopening.opened.iter().find(|row| row.seq == 5).unwrap();
    assert_eq!((item.state, item.undecided), (TaskState::Pending, true));
    assert_eq!(reopening.gated, [6].into());
}

#[test]
fn what_needs_an_undone_task_runs_again_after_it() {
    let mut rows = vec![
        row(1, TaskState::Completed, &[2]),
        row(2, TaskState::Completed, &[3]),
        row(3, TaskState::Failed, &[]),
        row(4, TaskState::Completed, &[]),
    ];
    rows[0].undone = true;
    let (ready, pending) = (TaskState::Ready, TaskState::Pending);
    let reopening = reopen(&rows, &Asked::default()).unwrap();
    assert_eq!(standing(&reopening), [(1, ready, 0), (2, pending, 1), (3, pending, 1)]);
    let given = Asked { completed: vec![2], ..Asked::default() };
    let reopening = reopen(&rows, &given).unwrap();
    assert_eq!(standing(&reopening), [(1, ready, 0), (3, ready, 0)], "2 was given an end");
    let forked = fork(&rows, 4);
    assert_eq!(forked.opened.len(), 4);
}

#[test]
fn what_stands_in_a_group_that_is_skipped_stays_undone() {
    let mut group = row(1, TaskState::Failed, &[4]);
    (group.kind, group.begun, group.plain) = (RowKind::PlainGroup, true, false);
    let mut rows = vec![group];
    for (seq, state) in [(2, TaskState::Completed), (3, TaskState::Failed)] {
        rows.push(EndedRow { parent: Some(1), ..row(seq, state, &[]) });
    }
    rows[1].undone = true;
    let mut after = row(4, TaskState::Skipped, &[]);
    after.reason = Some(Reason::UpstreamFailed);
    rows.push(after);
    let asked = Asked { skipped: vec![1], ..Asked::default() };
    assert_eq!(standing(&reopen(&rows, &asked).unwrap()), [(4, TaskState::Ready, 0)]);
}

#[test]
fn a_loop_of_which_an_earlier_round_was_undone_begins_anew() {
    let mut group = row(1, TaskState::Completed, &[6]);
    (group.kind, group.begun, group.plain) = (RowKind::Loop, true, false);
    let mut rows = vec![group];
    for (round, inner) in [(2, 3), (4, 5)] {
        let (kind, parent) = (RowKind::Item, Some(1));
        rows.push(EndedRow { kind, parent, begun: true, ..row(round, TaskState::Completed, &[]) });
        rows.push(EndedRow { parent: Some(round), ..row(inner, TaskState::Completed, &[]) });
    }
    rows.push(row(6, TaskState::Failed, &[]));
    rows[4].undone = true;
    let (blocked, pending) = (TaskState::Blocked, TaskState::Pending);
    let last = reopen(&rows, &Asked::default()).unwrap();
    let open = [(1, blocked, 1), (4, blocked, 1), (5, TaskState::Ready, 0), (6, pending, 1)];
    assert_eq!(standing(&last), open);
    rows[2].undone = true;
    let anew = reopen(&rows, &Asked::default()).unwrap();
    assert_eq!((anew.opened.len(), anew.dropped.len()), (2, 4));
    assert_eq!(anew.opened[0].seq, 1);
}

#[test]
fn a_fan_out_in_a_group_that_runs_again_is_laid_down_anew() {
    let mut rows = fan_out();
    let mut group = row(8, TaskState::Completed, &[]);
    (group.kind, group.begun, group.plain) = (RowKind::PlainGroup, true, false);
    let mut empty = row(9, TaskState::Completed, &[]);
    (empty.kind, empty.plain, empty.parent) = (RowKind::PlainGroup, false, Some(8));
    let mut beside = row(10, TaskState::Completed, &[]);
    beside.parent = Some(8);
    rows[1].dependents.push(8);
    rows.extend([group, empty, beside]);
    let asked = Asked { from: vec![2], only_failed_items: true, ..Asked::default() };
    let reopening = reopen(&rows, &asked).unwrap();
    let (blocked, pending) = (TaskState::Blocked, TaskState::Pending);
    let open: Vec<_> =
        standing(&reopening).into_iter().filter(|it| [2, 8, 9, 10].contains(&it.0)).collect();
    assert_eq!(open, [(2, blocked, 1), (8, pending, 1), (9, pending, 1), (10, pending, 1)]);
}
