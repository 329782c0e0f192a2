//! The executor by example: real processes, real git, no database.

mod end;
mod run;
mod support;
