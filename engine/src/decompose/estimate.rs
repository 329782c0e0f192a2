//! How long subtasks take: three guesses in hours, what they come to, and how that is told from a
//! text when nobody guessed.

use serde::{Deserialize, Serialize};

use super::words;

/// Guesses in hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hours {
    pub optimistic: f64,
    pub likely: f64,
    pub pessimistic: f64,
}

/// How much there is to a subtask, by the hours it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complexity {
    Trivial,
    Simple,
    Moderate,
    Complex,
    Expert,
}

/// What a single subtask is taken to need at most.
pub(super) const HOURS_MAX: f64 = 1_000.0;

impl Hours {
    /// What is made of parts takes the hours of these.
    pub(super) const NONE: Self = Self { optimistic: 0.0, likely: 0.0, pessimistic: 0.0 };

    /// The usual spread around what is likely: the less there is to do, the wider.
    pub fn around(likely: f64) -> Self {
        let (low, high) = match likely {
            hours if hours < 1.0 => (0.5, 2.0),
            hours if hours < 4.0 => (0.7, 1.5),
            hours if hours < 8.0 => (0.8, 1.3),
            _ => (0.75, 1.5),
        };
        Self {
            optimistic: round(likely * low),
            likely: round(likely),
            pessimistic: round(likely * high),
        }
    }

    /// What a text lets expect of a whole goal. Fewer than 20 words say little, so that two hours
    /// are the measure.
    pub fn of_text(text: &str) -> Self {
        const LITTLE: u32 = 20;
        let score = words::score(text);
        let words = text.split_whitespace().count();
        let words = u32::try_from(words).unwrap_or(u32::MAX);
        let base = if words < LITTLE { 2.0 } else { f64::from(words) / 100.0 };
        Self::around((base * score).clamp(0.1, 24.0))
    }

    /// The mean of a PERT estimate.
    pub fn expected(&self) -> f64 {
        (self.optimistic + 4.0 * self.likely + self.pessimistic) / 6.0
    }

    /// Its standard deviation.
    pub fn deviation(&self) -> f64 {
        ((self.pessimistic - self.optimistic) / 6.0).max(0.0)
    }

    pub fn complexity(&self) -> Complexity {
        match self.expected() {
            hours if hours < 0.25 => Complexity::Trivial,
            hours if hours < 1.0 => Complexity::Simple,
            hours if hours < 4.0 => Complexity::Moderate,
            hours if hours < 8.0 => Complexity::Complex,
            _ => Complexity::Expert,
        }
    }

    /// All of them so many times as long.
    pub(super) fn times(&self, factor: f64) -> Self {
        Self {
            optimistic: round(self.optimistic * factor),
            likely: round(self.likely * factor),
            pessimistic: round(self.pessimistic * factor),
        }
    }
}

/// To hundredths: more is not meant.
pub(super) fn round(hours: f64) -> f64 {
    (hours * 100.0).round() / 100.0
}
