//! The checker of the chaos harness finds what is planted: a history without fault has no
//! violation, and each fault is found as the one it is.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::collections::HashMap;

use jobshop_engine::{event::EventKind, session::SessionState, task::TaskState};
use jobshop_tests::chaos::{
    checks,
    history::{Cancel, Event, Feed, History, Run, Session, Submission, Task},
};
use uuid::Uuid;

const SECOND: i64 = 1_000_000_000;
const LEASE: i64 = 6 * SECOND;
const ID: Uuid = Uuid::from_u128(1);
const CANCELLED: Uuid = Uuid::from_u128(2);
const WORKER: Uuid = Uuid::from_u128(7);

/// Task 1, whose first attempt crashed, then task 2; and a session that was cancelled in time.
fn good() -> History {
    let event = |kind, task, attempt| Event { kind, task, attempt };
    let run = |session, seq, attempt, began: i64, ended: Option<i64>| Run {
        session,
        seq,
        attempt,
        worker: WORKER,
        process: 100 + u32::try_from(10 * seq + attempt).unwrap(),
        began: began * SECOND,
        ended: ended.map(|at| (at * SECOND, 0)),
    };
    let task = |seq, attempt, crashes, dependents: &[i32]| Task {
        seq,
        parent: None,
        state: TaskState::Completed,
        attempt,
        worker: Some(WORKER),
        failures: 0,
        crashes,
        dependents: dependents.to_vec(),
        process: Some(100 + u32::try_from(10 * seq + attempt).unwrap()),
    };
    let done = Session {
        id: ID,
        title: "one".into(),
        state: SessionState::Completed,
        events: vec![
            event(EventKind::SessionQueued, None, None),
            event(EventKind::TaskCrashed, Some(1), Some(1)),
            event(EventKind::TaskCompleted, Some(1), Some(2)),
            event(EventKind::TaskCompleted, Some(2), Some(1)),
            event(EventKind::SessionCompleted, None, None),
        ],
        tasks: vec![task(1, 2, 1, &[2]), task(2, 1, 0, &[])],
    };
    let cancelled = Session {
        id: CANCELLED,
        title: "two".into(),
        state: SessionState::Cancelled,
        events: vec![
            event(EventKind::SessionQueued, None, None),
            event(EventKind::SessionCancelled, None, None),
            event(EventKind::TaskCancelled, Some(1), None),
        ],
        tasks: vec![Task { state: TaskState::Cancelled, process: None, ..task(1, 1, 0, &[]) }],
    };
    let submission =
        |key: &str, id| Submission { key: key.into(), acknowledged: Some(id), silent: 0 };
    History {
        submissions: vec![submission("one", ID), submission("two", CANCELLED)],
        cancels: vec![Cancel { session: CANCELLED, at: 20 * SECOND }],
        runs: vec![
            run(ID, 1, 1, 1, None),
            run(ID, 1, 2, 8, Some(9)),
            run(ID, 2, 1, 10, Some(11)),
            run(CANCELLED, 1, 1, 19, None),
        ],
        locks: HashMap::from([((ID, 1), "l0".to_owned()), ((ID, 2), "l1".to_owned())]),
        feeds: vec![Feed { session: ID, seqs: vec![1, 2, 3, 4, 5] }],
        sessions: vec![done, cancelled],
        fires: vec![(100, 1), (101, 1)],
        minutes: vec![100, 101],
        broken: Vec::new(),
    }
}

/// The invariants that a history breaks once this was done to it.
fn broken_by(plant: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let mut history = good();
    plant(&mut history);
    let mut found: Vec<_> =
        checks::violations(&history, LEASE).into_iter().map(|it| it.invariant).collect();
    found.dedup();
    found
}

#[test]
fn a_history_without_fault_has_no_violation() {
    assert_eq!(checks::violations(&good(), LEASE), []);
}

#[test]
fn what_is_planted_is_found() {
    let lost = |it: &mut History| drop(it.sessions.remove(0));
    assert_eq!(broken_by(lost), ["I1"], "an acknowledged session that is gone");
    let twice = |it: &mut History| {
        let again = Session { id: Uuid::from_u128(3), ..it.sessions[0].clone() };
        it.sessions.push(Session { tasks: Vec::new(), ..again });
    };
    assert_eq!(broken_by(twice), ["I1"], "one key, two sessions");
    let open = |it: &mut History| it.sessions[0].state = SessionState::Running;
    assert_eq!(broken_by(open), ["I2"], "a session that never ends");
    let doubled = |it: &mut History| {
        let end = it.sessions[0].events[2];
        it.sessions[0].events.insert(3, end);
        it.feeds.clear();
    };
    assert_eq!(broken_by(doubled), ["I3"], "an attempt that ended twice");
    let invented = |it: &mut History| it.sessions[0].tasks[1].process = Some(9);
    assert_eq!(broken_by(invented), ["I3"], "outputs that no command wrote");
    let unfenced = |it: &mut History| it.sessions[0].tasks[1].worker = Some(Uuid::from_u128(8));
    assert_eq!(broken_by(unfenced), ["I3"], "an outcome of another worker");
    let failing = |it: &mut History| it.runs[2].ended = Some((11 * SECOND, 1));
    assert_eq!(broken_by(failing), ["I3"], "a failed command that counts as completed");
    let early = |it: &mut History| it.runs[2].began = 8 * SECOND;
    assert_eq!(broken_by(early), ["I4"], "a task that began before its need had ended");
    let shared = |it: &mut History| {
        // Nothing needs the first, so only the lock keeps the second away from it.
        it.locks.insert((ID, 2), "l0".to_owned());
        it.sessions[0].tasks[0].dependents.clear();
        it.runs[2].began = 8 * SECOND + 1;
    };
    assert_eq!(broken_by(shared), ["I8"], "two who held one lock at once");
    let stubborn = |it: &mut History| it.sessions[0].tasks[0].crashes = 4;
    assert_eq!(broken_by(stubborn), ["I6"], "more crashes than the limit");
    let stale = |it: &mut History| {
        it.runs.push(Run { attempt: 3, process: 999, ended: None, ..it.runs[1].clone() });
    };
    assert_eq!(broken_by(stale), ["I7"], "an attempt accepted after the next had begun");
    assert_eq!(broken_by(|it| it.fires.push((100, 1))), ["I9"], "a minute that fired twice");
    assert_eq!(broken_by(|it| it.minutes.push(102)), ["I9"], "a minute that did not fire");
    let gap = |it: &mut History| it.feeds[0].seqs.retain(|seq| *seq != 3);
    assert_eq!(broken_by(gap), ["I10"], "an event that a socket did not bring");
    let short = |it: &mut History| it.feeds[0].seqs.truncate(3);
    assert_eq!(broken_by(short), ["I10"], "a socket that closed too soon");
    let late = |it: &mut History| it.runs[3].ended = Some((40 * SECOND, 0));
    assert_eq!(broken_by(late), ["I13"], "a command that outlived the cancel");
    let after = |it: &mut History| {
        it.sessions[1].events[2].kind = EventKind::TaskCompleted;
    };
    assert_eq!(broken_by(after), ["I13"], "an outcome accepted after the cancel");
    assert_eq!(broken_by(|it| it.broken.push("counters".into())), ["I14"]);
}

#[test]
fn lines_that_a_kill_cut_short_are_left_out() {
    let mut history = History::default();
    let fence = format!("{ID}/1/1/{WORKER}");
    history
        .read_runs(&format!("b {fence} 7 100\nb {fence} 8 200\ne {fence} 7 300 1\ne {fence} 8 3"));
    history.read_runs(&format!("l {fence} 7 l3\nl {fence} 7"));
    assert_eq!(history.locks, HashMap::from([((ID, 1), "l3".to_owned())]));
    let ends: Vec<_> = history.runs.iter().map(|run| (run.process, run.ended)).collect();
    assert_eq!(ends, [(7, Some((300, 1))), (8, None)]);
}
