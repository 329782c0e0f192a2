//! Claims tasks and executes them. A [`Worker`] holds a lease, takes ready tasks of its routes in
//! batches, prepares and executes them, and records how they ended under their fences. It knows
//! nothing of HTTP, and nothing of what a workflow looks like beyond its plan.

mod agents;
mod budgets;
mod claimer;
mod dispatcher;
pub mod execute;
mod finisher;
mod held;
mod lease;
mod life;
pub mod names;
mod notes;
mod predecessor;
mod providers;
mod queue;
mod receipts;
mod record;
mod strays;
mod watcher;
mod worker;
pub mod workspaces;

pub use worker::{Worker, WorkerConfig};
