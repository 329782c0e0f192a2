//! Limits: locks of tasks, places of sessions, and turns between tenants. Who holds is a row, whoever
//! ends lets the next one go, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

mod line;
mod locks;
mod places;
mod storm;
mod surface;
mod turns;
