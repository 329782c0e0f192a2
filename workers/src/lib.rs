//! Claims tasks and executes them.

pub mod execute;
