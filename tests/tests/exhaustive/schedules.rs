//! Two schedulers, a schedule that a person edits, a clock that leaps, and Postgres or a scheduler
//! dying between two steps: every time fires once, not early, as what the schedule is by then.

use stateright::{Model, Property};

use crate::{breaks, holds};

/// Times at which it fires: 0, 1 and 2 of the database's clock.
const TIMES: u8 = 3;
const EDITS_MAX: u8 = 1;

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The row is not looked at again under its lock.
    SecondLook,
    /// The schedule goes on to its next time in one transaction, the session begins in another.
    OneTransaction,
    /// A scheduler asks the clock of its own machine, which is ahead.
    DatabaseClock,
    /// The time of the schedule goes on to the newest one, whatever was due in between.
    EachTime,
}

struct Schedules(Without);

/// A scheduler between its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    /// It has seen that this time is due, and what the schedule is.
    Looked {
        time: u8,
        edition: u8,
    },
    /// It has put the schedule forward, and not yet begun the session.
    Forwarded {
        time: u8,
        edition: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    clock: u8,
    next: u8,
    edition: u8,
    schedulers: [Step; 2],
    /// The sessions of each time.
    fired: [u8; TIMES as usize],
    /// A session began before its time.
    early: bool,
    /// A session began as what the schedule no longer was.
    outdated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Edit,
    Look(usize),
    Fire(usize),
    Begin(usize),
    Die(usize),
}

impl Schedules {
    /// How far ahead of the database's clock a scheduler believes to be.
    fn ahead(&self) -> u8 {
        u8::from(self.0 == Without::DatabaseClock)
    }

    fn begin(state: &mut State, time: u8, edition: u8) {
        state.fired[usize::from(time)] += 1;
        state.early |= time > state.clock;
        state.outdated |= edition != state.edition;
    }

    /// The transaction of one firing: lock the row, look again, begin the session, go on.
    fn fire(&self, state: &mut State, it: usize) {
        let Step::Looked { time, edition } = state.schedulers[it] else { return };
        state.schedulers[it] = Step::Idle;
        let (time, edition) = match self.0 {
            Without::SecondLook => (time, edition),
            Without::Nothing
            | Without::OneTransaction
            | Without::DatabaseClock
            | Without::EachTime => {
                if state.next != time {
                    return;
                }
                (state.next, state.edition)
            }
        };
        state.next = match self.0 {
            Without::EachTime => state.clock + 1,
            Without::Nothing
            | Without::SecondLook
            | Without::OneTransaction
            | Without::DatabaseClock => time + 1,
        };
        if self.0 == Without::OneTransaction {
            state.schedulers[it] = Step::Forwarded { time, edition };
        } else {
            Self::begin(state, time, edition);
        }
    }
}

impl Model for Schedules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            clock: 0,
            next: 0,
            edition: 0,
            schedulers: [Step::Idle; 2],
            fired: [0; TIMES as usize],
            early: false,
            outdated: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.clock + 1 < TIMES {
            actions.push(Action::Tick);
        }
        if state.edition < EDITS_MAX {
            actions.push(Action::Edit);
        }
        for (it, step) in state.schedulers.iter().enumerate() {
            match step {
                Step::Idle if state.next <= state.clock + self.ahead() && state.next < TIMES => {
                    actions.push(Action::Look(it));
                }
                Step::Idle => {}
                Step::Looked { .. } => actions.extend([Action::Fire(it), Action::Die(it)]),
                Step::Forwarded { .. } => actions.extend([Action::Begin(it), Action::Die(it)]),
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Tick => next.clock += 1,
            Action::Edit => next.edition += 1,
            Action::Look(it) => {
                next.schedulers[it] = Step::Looked { time: last.next, edition: last.edition };
            }
            Action::Fire(it) => self.fire(&mut next, it),
            Action::Begin(it) => {
                let Step::Forwarded { time, edition } = last.schedulers[it] else { return None };
                next.schedulers[it] = Step::Idle;
                Self::begin(&mut next, time, edition);
            }
            Action::Die(it) => next.schedulers[it] = Step::Idle,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no time fires twice (I9)", |_, state: &State| {
                state.fired.iter().all(|count| *count <= 1)
            }),
            Property::always("no time is missed (I9)", |_, state: &State| {
                let at_rest = state.schedulers.iter().all(|step| *step == Step::Idle);
                !at_rest || state.fired[..usize::from(state.next)].iter().all(|it| *it > 0)
            }),
            Property::always("nothing fires early", |_, state: &State| !state.early),
            Property::always("what fires is what the schedule is", |_, state: &State| {
                !state.outdated
            }),
            Property::sometimes("all have fired", |_, state: &State| state.next == TIMES),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.fired.iter().all(|count| *count <= 2)
    }
}

#[test]
fn each_time_fires_once_as_what_the_schedule_is() {
    holds(Schedules(Without::Nothing), 100);
}

#[test]
fn without_a_second_look_a_time_fires_twice() {
    breaks(Schedules(Without::SecondLook), "no time fires twice (I9)");
}

#[test]
fn without_a_second_look_an_edit_is_not_seen() {
    breaks(Schedules(Without::SecondLook), "what fires is what the schedule is");
}

#[test]
fn in_two_transactions_a_time_is_missed() {
    breaks(Schedules(Without::OneTransaction), "no time is missed (I9)");
}

#[test]
fn by_the_clock_of_another_machine_it_fires_early() {
    breaks(Schedules(Without::DatabaseClock), "nothing fires early");
}

#[test]
fn by_the_newest_time_alone_a_time_is_missed() {
    breaks(Schedules(Without::EachTime), "no time is missed (I9)");
}
