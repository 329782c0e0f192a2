//! What is wrong with a plan, each with its place in it.

use std::fmt;

/// One thing that is wrong: the place is a path, `subtasks[1].needs[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: String,
    pub message: String,
}

/// All that is wrong with a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// More are not told: they follow from the first ones mostly.
const TOLD_MAX: usize = 20;

impl Faults {
    pub(super) fn add(&mut self, place: &str, message: impl Into<String>) {
        let place = if place.is_empty() { "plan".to_owned() } else { place.to_owned() };
        self.0.push(Fault { place, message: message.into() });
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().take(TOLD_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", fault.place, fault.message)?;
        }
        match self.0.len().checked_sub(TOLD_MAX) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Faults {}
