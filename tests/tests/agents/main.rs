//! Real coding agents, with a model that does what it is told: opencode in its own server, driven
//! through workflows. Where opencode is not installed these tests say so and do nothing.

mod contract;
mod limits;
mod protocol;
mod stand;
mod teleport;
mod turns;
