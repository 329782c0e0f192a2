//! When a failed attempt is followed by another, and how long after. Chance comes in as an argument.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration::Span, outcome::ErrorClass};

/// How the delay grows with the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    Constant,
    Linear,
    #[default]
    Exponential,
}

/// The retry policy of a task. Where a workflow has no `retry`, one attempt is all there is:
/// [`RetryPolicy::once`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    pub max_attempts: i32,
    pub backoff: Backoff,
    pub initial: Span,
    pub max: Span,
    /// Fraction of the delay by which it is moved up or down, 0 to 1.
    pub jitter: f64,
    pub errors: Vec<ErrorClass>,
}

impl Default for RetryPolicy {
    /// What a `retry:` without further keys means.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::Exponential,
            initial: Span::from_secs(1),
            max: Span::from_secs(300),
            jitter: 0.2,
            errors: vec![ErrorClass::Error, ErrorClass::Timeout],
        }
    }
}

impl RetryPolicy {
    /// One attempt and no other.
    pub fn once() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Whether a failure of this class may be followed by another attempt at all. `error` in the
    /// list covers `schema`; three classes are never tried again.
    pub fn covers(&self, class: ErrorClass) -> bool {
        match class {
            ErrorClass::Template | ErrorClass::Rejected | ErrorClass::TooLarge => false,
            ErrorClass::Schema => {
                self.errors.contains(&ErrorClass::Schema)
                    || self.errors.contains(&ErrorClass::Error)
            }
            ErrorClass::Error
            | ErrorClass::Timeout
            | ErrorClass::Crash
            | ErrorClass::Cancelled
            | ErrorClass::MaxRounds
            | ErrorClass::Budget
            | ErrorClass::NoAgent => self.errors.contains(&class),
        }
    }

    /// The delay before the next attempt after the `failures`-th failure (this one included), or
    /// `None` when there is none. `chance` is uniform in 0..1.
    pub fn next_delay(&self, class: ErrorClass, failures: i32, chance: f64) -> Option<Span> {
        (failures < self.max_attempts && self.covers(class)).then(|| self.delay(failures, chance))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "delays are far below 2^52 ms and never negative"
    )]
    fn delay(&self, failures: i32, chance: f64) -> Span {
        let initial = self.initial.ms as f64;
        let nth = f64::from(failures.max(1));
        let grown = match self.backoff {
            Backoff::Constant => initial,
            Backoff::Linear => initial * nth,
            Backoff::Exponential => initial * 2f64.powf(nth - 1.0),
        };
        let capped = grown.min(self.max.ms as f64);
        let moved = capped * (1.0 + self.jitter * (2.0 * chance - 1.0));
        Span { ms: moved.round().max(0.0) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_as_the_policy_says_and_stop_at_its_maximum() {
        let policy = RetryPolicy { max_attempts: 20, jitter: 0.0, ..RetryPolicy::default() };
        let ms = |failures| policy.next_delay(ErrorClass::Error, failures, 0.5).map(|span| span.ms);
        assert_eq!(
            [ms(1), ms(2), ms(3), ms(12)],
            [Some(1_000), Some(2_000), Some(4_000), Some(300_000)]
        );
        assert_eq!(ms(20), None);
        let linear = RetryPolicy { backoff: Backoff::Linear, ..policy.clone() };
        assert_eq!(linear.next_delay(ErrorClass::Error, 3, 0.5).unwrap().ms, 3_000);
        let jittered = RetryPolicy { jitter: 0.2, ..policy };
        assert_eq!(jittered.next_delay(ErrorClass::Error, 1, 0.0).unwrap().ms, 800);
        assert_eq!(jittered.next_delay(ErrorClass::Error, 1, 1.0).unwrap().ms, 1_200);
    }

    #[test]
    fn some_classes_are_never_tried_again() {
        let policy = RetryPolicy { errors: ErrorClass::ALL.to_vec(), ..RetryPolicy::default() };
        let again: Vec<_> =
            ErrorClass::ALL.into_iter().filter(|class| !policy.covers(*class)).collect();
        assert_eq!(again, [ErrorClass::Template, ErrorClass::Rejected, ErrorClass::TooLarge]);
        assert!(RetryPolicy::default().covers(ErrorClass::Schema));
        assert!(RetryPolicy::once().next_delay(ErrorClass::Error, 1, 0.5).is_none());
    }
}
