//! Locks of generated workflows. The sessions that run beside each other share them.

use super::flow::{Coming, Kind, Task, Verdict};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lock {
    One,
    Other,
    /// Two may hold it.
    Wide,
}

/// The input that says which sessions share their locks; its default.
pub const REALM: (&str, &str) = ("realm", "own");

impl Lock {
    pub const ALL: [Self; 3] = [Self::One, Self::Other, Self::Wide];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Other => "other",
            Self::Wide => "wide",
        }
    }

    pub const fn limit(self) -> usize {
        if matches!(self, Self::Wide) { 2 } else { 1 }
    }

    /// The name in a realm.
    pub fn name(self, realm: &str) -> String {
        format!("{realm}-{}", self.as_str())
    }
}

impl Task {
    /// Whether it may have locks: those whose time limits run while they wait for locks come to what
    /// others let them.
    pub(super) const fn is_lockable(kind: &Kind) -> bool {
        match kind {
            Kind::Ask(verdict) => {
                !matches!(verdict, Verdict::ApprovedInSilence | Verdict::RejectedInSilence)
            }
            Kind::Wait(coming) => !matches!(coming, Coming::Never),
            Kind::Work(_)
            | Kind::Sleep(_)
            | Kind::Child(_)
            | Kind::Group(_)
            | Kind::Each(_)
            | Kind::Rounds(_) => true,
        }
    }

    /// The locks of one of its rows: each item of a fan-out takes those of the group.
    pub fn locks_of_row(&self, is_item: bool) -> &[Lock] {
        if is_item == matches!(self.kind, Kind::Each(_)) { &self.locks } else { &[] }
    }
}
