//! Real coding agents, with a model that does what it is told: opencode in its own server, driven
//! through workflows. Where opencode is not installed these tests say so and do nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what cannot be set up is a failed test, and what is skipped is said"
)]

mod asking;
mod command_line;
mod contract;
mod crowd;
mod deaths;
mod limits;
mod live;
mod others;
mod protocol;
mod stand;
mod teleport;
mod turns;
