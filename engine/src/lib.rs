//! The words, the rules and the storage of Jobshop.
//!
//! Everything outside [`store`] takes values and returns values: it knows no clock, database,
//! file, chance or runtime. [`store`] is the only place with SQL.

pub mod approval;
pub mod artifact;
pub mod attempt;
pub mod budget;
pub mod capability;
pub mod checkpoint;
pub mod child;
pub mod closing;
pub mod context;
pub mod decompose;
pub mod diff;
pub mod duration;
pub mod event;
pub mod evidence;
pub mod expression;
pub mod flow;
pub mod health;
pub mod id;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod priority;
pub mod prompt;
pub mod provider;
pub mod question;
pub mod reopen;
pub mod retry;
pub mod role;
pub mod routing;
pub mod schedule;
pub mod session;
pub mod signal;
pub mod simulate;
pub mod size;
pub mod store;
pub mod suggestion;
pub mod task;
pub mod turns;
pub mod workflow;
