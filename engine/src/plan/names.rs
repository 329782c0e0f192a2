//! Which words can be ids of tasks. It does not know where they stand.

/// What means something else where the tasks of a group are looked up.
pub(crate) const RESERVED: [&str; 9] =
    ["items", "tasks", "completed", "failed", "skipped", "cancelled", "outputs", "status", "error"];

/// Whether a task may be called so.
pub(crate) fn is_task_id(id: &str) -> bool {
    id.len() <= 64
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
