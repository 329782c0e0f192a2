//! Limits as a plan keeps them: the locks of tasks and the places of sessions, and the names that
//! their templates give. It does not know who holds what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    expression::{self, Scope},
    outcome::{ErrorClass, Failure},
};

/// How many may hold a limit at once, at most.
pub const CAPACITY_MAX: u32 = 10_000;
/// How many locks one task may have.
pub const LOCKS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 256;

/// A lock that a task takes before it does anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Text that may hold `${{ }}`.
    pub name: String,
    /// How many tasks may hold it at once.
    pub limit: i32,
}

/// How many sessions run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Text that may hold `${{ }}`; sessions with the same key share the places.
    pub key: String,
    pub limit: i32,
    pub on_full: OnFull,
}

/// What becomes of a session for which there is no place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It is refused.
    Reject,
    /// The one that has had its place longest is cancelled.
    CancelOldest,
}

/// The names of a task's locks with their limits, each once.
pub fn locks(locks: &[Lock], scope: &Scope) -> Result<Vec<(String, i32)>, Failure> {
    let mut named: Vec<(String, i32)> = Vec::with_capacity(locks.len());
    for lock in locks {
        let name = expression::render_text(&lock.name, scope)?;
        check_name(&name, "a lock")?;
        match named.iter_mut().find(|(other, _)| *other == name) {
            Some((_, limit)) => *limit = lock.limit.min(*limit),
            None => named.push((name, lock.limit)),
        }
    }
    Ok(named)
}

impl Concurrency {
    /// What sessions share their places by.
    pub fn name(&self, scope: &Scope) -> Result<String, Failure> {
        let name = expression::render_text(&self.key, scope)?;
        check_name(&name, "a concurrency key")?;
        Ok(name)
    }
}

fn check_name(name: &str, what: &str) -> Result<(), Failure> {
    let is_right = !name.trim().is_empty()
        && name.chars().nth(NAME_CHARS_MAX).is_none()
        && !name.chars().any(char::is_control);
    if is_right {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let message = format!(
        "`{}` cannot be {what}: it has 1 to {NAME_CHARS_MAX} characters on one line",
        shown.escape_debug()
    );
    Err(Failure::new(ErrorClass::Template, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Lock, locks};
    use crate::expression::Scope;

    fn lock(name: &str, limit: i32) -> Lock {
        Lock { name: name.to_owned(), limit }
    }

    #[test]
    fn names_that_come_to_the_same_are_one_lock_with_the_smaller_limit() {
        let mut scope = Scope::default();
        scope.set_json("inputs", &json!({ "repo": "web" }));
        let written = [lock("repo-${{ inputs.repo }}", 3), lock("repo-web", 2), lock("gpu", 4)];
        let named = locks(&written, &scope).unwrap();
        assert_eq!(named, [("repo-web".to_owned(), 2), ("gpu".to_owned(), 4)]);
    }

    #[test]
    fn a_lock_without_a_name_is_refused() {
        let scope = Scope::default();
        for name in ["", "  ", "a\nb", &"x".repeat(257)] {
            let failure = locks(&[lock(name, 1)], &scope).unwrap_err();
            assert!(failure.message.contains("cannot be a lock"), "{}", failure.message);
        }
    }
}
