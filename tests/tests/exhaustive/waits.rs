//! Transactions that wait for each other's locks: session rows, then rows of tasks, then limits.

use stateright::{Model, Property};

use crate::{breaks, holds};

/// What may be locked: two sessions, a task of each, a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lock {
    First,
    Second,
    TaskOfFirst,
    TaskOfSecond,
    Limit,
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Take {
    /// Waits until nobody else holds it.
    Wait(Lock),
    /// Goes on without it when somebody holds it, as `skip locked` does.
    Skip(Lock),
}

use Lock::{First, Limit, Second, TaskOfFirst, TaskOfSecond};
use Take::{Skip, Wait};

/// A batch that finishes tasks of both sessions.
const FINISH: &[Take] =
    &[Wait(First), Wait(Second), Wait(TaskOfFirst), Wait(TaskOfSecond), Wait(Limit)];
/// An end in the second session that gives a lock back, which lets a task of the first session go.
const GRANT: &[Take] =
    &[Wait(Second), Wait(TaskOfSecond), Wait(Limit), Skip(First), Skip(TaskOfFirst)];
const CANCEL: &[Take] = &[Wait(First), Wait(TaskOfFirst), Wait(Limit)];

/// Transactions, each with what it takes, in order.
struct Waits(&'static [&'static [Take]]);

/// How far each transaction is, and what it holds. One past its last lock has committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State(Vec<(usize, Vec<Lock>)>);

impl State {
    fn is_held_by_another(&self, me: usize, lock: Lock) -> bool {
        self.0.iter().enumerate().any(|(it, (_, held))| it != me && held.contains(&lock))
    }
}

impl Model for Waits {
    type State = State;
    /// The transaction that goes on.
    type Action = usize;

    fn init_states(&self) -> Vec<State> {
        vec![State(vec![(0, Vec::new()); self.0.len()])]
    }

    fn actions(&self, state: &State, actions: &mut Vec<usize>) {
        actions.extend((0..state.0.len()).filter(|it| match self.0[*it].get(state.0[*it].0) {
            Some(Wait(lock)) => !state.is_held_by_another(*it, *lock),
            Some(Skip(_)) => true,
            None => !state.0[*it].1.is_empty(),
        }));
    }

    fn next_state(&self, last: &State, it: usize) -> Option<State> {
        let mut next = last.clone();
        match self.0[it].get(last.0[it].0) {
            Some(Skip(lock)) if last.is_held_by_another(it, *lock) => {}
            Some(Wait(lock) | Skip(lock)) => next.0[it].1.push(*lock),
            None => next.0[it].1.clear(),
        }
        next.0[it].0 = (last.0[it].0 + 1).min(self.0[it].len());
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("somebody can go on", |world: &Self, state: &State| {
            let mut actions = Vec::new();
            world.actions(state, &mut actions);
            let all_committed = state.0.iter().all(|(_, held)| held.is_empty())
                && state.0.iter().zip(world.0).all(|((at, _), takes)| *at == takes.len());
            all_committed || !actions.is_empty()
        })]
    }
}

#[test]
fn nobody_waits_in_a_circle() {
    holds(Waits(&[FINISH, GRANT, CANCEL]), 50);
    holds(Waits(&[FINISH, FINISH, GRANT, GRANT]), 100);
}

#[test]
fn without_an_order_of_sessions_they_wait_in_a_circle() {
    const BACKWARDS: &[Take] = &[Wait(Second), Wait(First), Wait(TaskOfSecond), Wait(TaskOfFirst)];
    breaks(Waits(&[FINISH, BACKWARDS]), "somebody can go on");
}

#[test]
fn with_tasks_before_sessions_they_wait_in_a_circle() {
    const TASKS_FIRST: &[Take] = &[Wait(TaskOfFirst), Wait(First)];
    breaks(Waits(&[CANCEL, TASKS_FIRST]), "somebody can go on");
}

#[test]
fn a_grant_that_waits_for_another_session_waits_in_a_circle() {
    const WAITING: &[Take] =
        &[Wait(Second), Wait(TaskOfSecond), Wait(Limit), Wait(First), Wait(TaskOfFirst)];
    breaks(Waits(&[CANCEL, WAITING]), "somebody can go on");
}
