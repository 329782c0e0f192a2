//! What the end of a child session means to the task that waits for it, and the end of the parent to
//! the child. It does not know rows.

use serde_json::Value;

use crate::{
    outcome::{ErrorClass, Failure, check_outputs},
    plan::Node,
    session::SessionState,
};

/// How deep sessions may stand in each other; the first is at depth 0.
pub const DEPTH_MAX: i16 = 8;
/// What a task's outputs may hold as JSON.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// A child session that has ended.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// How it is called in messages.
    pub name: String,
    pub state: SessionState,
    pub outputs: Option<Value>,
    /// Its own error, else that of its first task that failed.
    pub error: Option<Failure>,
    /// The task that waits for it.
    pub task: &'a Node,
}

/// What the task comes to.
pub fn outcome(child: Ended<'_>) -> Result<Value, Failure> {
    use SessionState as S;
    let Ended { name, state, outputs, error, task } = child;
    if matches!(state, S::Completed | S::PartiallyCompleted) {
        let outputs = outputs.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        return checked(outputs, task);
    }
    let class = match (state, &error) {
        (S::Timeout, _) => ErrorClass::Timeout,
        (S::Cancelled, _) => ErrorClass::Cancelled,
        (_, Some(error)) => error.class,
        (_, None) => ErrorClass::Error,
    };
    let because = error.map(|error| format!(": {}", error.message)).unwrap_or_default();
    Err(Failure::new(class, format!("session {name} ended as {state}{because}")))
}

fn checked(outputs: Value, task: &Node) -> Result<Value, Failure> {
    if outputs.to_string().len() > OUTPUT_BYTES_MAX {
        let why = format!("the outputs are larger than {OUTPUT_BYTES_MAX} bytes");
        return Err(Failure::new(ErrorClass::TooLarge, why));
    }
    match check_outputs(&outputs, task.outputs.as_ref()) {
        Ok(()) => Ok(outputs),
        Err(why) => Err(Failure::new(ErrorClass::Schema, why)),
    }
}

/// What becomes of a child that nobody waits for any more: cancelling and stopping travel to
/// children, every other end of the parent orphans them. `result` is what a parent that has not
/// ended will end as, where that is decided; `task_first` says that the task ended before its
/// session, and so was cut off by itself.
pub const fn left_behind(
    parent: SessionState,
    result: Option<SessionState>,
    task_first: bool,
) -> SessionState {
    use SessionState as S;
    match (parent, result) {
        (S::Cancelled, _) => S::Cancelled,
        (S::Stopped, _) | (_, Some(S::Stopped)) => S::Stopped,
        (_, Some(S::Timeout)) => S::Orphaned,
        (end, _) if end.is_final() && !task_first => S::Orphaned,
        _ => S::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionState as S;

    #[test]
    fn cancelling_and_stopping_travel_and_every_other_end_orphans() {
        for (parent, result, task_first, child) in [
            (S::Cancelled, None, false, S::Cancelled),
            (S::Stopped, None, false, S::Stopped),
            (S::Running, Some(S::Stopped), true, S::Stopped),
            (S::Cancelled, Some(S::Stopped), true, S::Cancelled),
            (S::Running, None, true, S::Cancelled),
            (S::Failed, None, true, S::Cancelled),
            (S::Timeout, None, false, S::Orphaned),
            (S::Running, Some(S::Timeout), true, S::Orphaned),
            (S::Failed, None, false, S::Orphaned),
            (S::Orphaned, None, false, S::Orphaned),
        ] {
            assert_eq!(left_behind(parent, result, task_first), child, "{parent} {result:?}");
        }
    }
}
