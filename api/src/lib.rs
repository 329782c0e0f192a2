//! HTTP and live events: the resources of `/api/v1`, the sockets, health, metrics and the
//! description of all that. It reads and writes through [`jobshop_engine::store`] and knows
//! nothing of workers: the database is where they meet.

mod agents;
mod app;
mod approvals;
mod archives;
mod artifacts;
mod auth;
mod budgets;
mod conflicts;
mod contexts;
mod conversations;
mod create;
mod description;
mod diff;
mod error;
mod events;
mod evidence;
mod extract;
mod health;
mod inbox;
mod keys;
mod live;
mod logs;
mod metrics;
mod policies;
mod providers;
mod refusals;
mod retry;
mod router;
mod schedules;
mod server;
mod sessions;
mod signals;
mod steer;
mod tasks;
mod tenants;
mod why;
mod workflows;

pub use app::{App, Listen};
pub use router::openapi;
pub use server::serve;
