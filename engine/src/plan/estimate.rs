//! How long a task is expected to take: three points, and what PERT makes of them. Nothing that runs
//! looks at it, only a simulation does.

use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// The three points of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub optimistic: Span,
    pub likely: Span,
    pub pessimistic: Span,
}

#[expect(clippy::cast_precision_loss, reason = "spans are far below 2^52 ms")]
impl Estimate {
    /// The expected time in milliseconds: (o + 4m + p) / 6.
    pub fn expected_ms(&self) -> f64 {
        (self.optimistic.ms as f64 + 4.0 * self.likely.ms as f64 + self.pessimistic.ms as f64) / 6.0
    }

    /// The standard deviation in milliseconds: (p - o) / 6.
    pub fn deviation_ms(&self) -> f64 {
        (self.pessimistic.ms as f64 - self.optimistic.ms as f64).max(0.0) / 6.0
    }
}
