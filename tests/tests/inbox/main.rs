//! What agents ask of people: it reaches them once, their answer reaches the agent that waits or the one
//! that goes on, and rules answer in their place.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

mod deaths;
mod kills;
mod rules;
mod stand;
mod waiting;
