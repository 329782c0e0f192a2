//! Claims tasks and executes them.
