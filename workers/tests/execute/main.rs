//! The executor by example: real processes, real git, no database.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an accident is a failed test")]

mod end;
mod run;
mod support;
