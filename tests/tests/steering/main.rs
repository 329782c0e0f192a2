//! Steering through the API: pausing, resuming, ending by hand, running parts again. A test plays the
//! worker and the control loop, so that each moment is its own.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

mod acts;
mod again;
mod degraded;
mod race;
mod stand;
mod tables;
mod why;
