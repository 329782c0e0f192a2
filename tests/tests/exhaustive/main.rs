//! Small worlds in which everything that can happen is tried, in every order: what the statements of
//! the store do to rows, leases, schedules and locks, a step at a time, and what must hold in every
//! state that can be reached (DESIGN's storage rules). Each rule is left out once, and then something
//! must break. The worlds know no SQL: that the statements do what is assumed of them here is shown
//! by `fences`, `reaper`, `queue`, `pauses` and `deadlocks`.

mod laws;
mod queue;
mod rows;
mod schedules;
mod waits;

use std::hash::Hash;

use stateright::{Checker as _, HasDiscoveries, Model};

/// Tries everything; every property must hold, and the world must not be trivially small. Returns how
/// many states there are.
fn holds<M>(world: M, states_min: usize) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + std::fmt::Debug + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let checked = world.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    let states = checked.unique_state_count();
    assert!(states >= states_min, "only {states} states were reached");
    states
}

/// Without one of its rules the world must break this property. Returns how.
fn breaks<M>(world: M, property: &'static str) -> Vec<M::Action>
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + std::fmt::Debug + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let until = HasDiscoveries::AnyOf([property].into());
    let checked = world.checker().threads(2).finish_when(until).spawn_bfs().join();
    checked.assert_any_discovery(property).into_actions()
}
