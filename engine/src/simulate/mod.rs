//! A session without a server: the compiled plan goes through the rules that decide every session
//! (joins, conditions, groups, loops, retries, approvals, what follows the result), with a clock that
//! jumps and outcomes that are made up. Nothing is executed. It knows no rows of the database, no
//! file and no time.

mod begin;
mod close;
mod course;
mod limits;
mod look;
mod path;
mod report;
mod row;
mod stubs;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::course::Course;
pub use self::{
    report::{NeverRun, Report, Step},
    stubs::{Stubs, StubsError},
};
use crate::plan::Plan;

/// Plays a session of `plan` with these inputs, which have been checked. At most `workers` attempts
/// run at once; `None` is as many as there are.
pub fn simulate(
    plan: &Plan,
    inputs: Map<String, Value>,
    stubs: &Stubs,
    workers: Option<usize>,
) -> Report {
    let mut course = Course::new(plan, inputs, stubs, workers);
    course.run();
    report::report(&course)
}
