//! The executor by example: real processes, real git, no database.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an accident is a failed test")]

mod agent;
mod containment;
mod end;
mod git;
mod hostile;
mod http;
mod merge;
mod merge_train;
mod refused;
mod run;
mod scripted;
mod support;
mod verify;
