//! How an attempt ends before it has done its work, so that every step can say so with `?`.

use jobshop_engine::{
    duration::Span,
    outcome::{Deferral, ErrorClass, Failure, Outcome},
};

/// Why an attempt goes no further.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Halt {
    Failed(Failure),
    /// Told to stop from outside: nothing is counted.
    Released,
    /// The provider of the model refused, for so long if it said so: nothing is counted.
    Refused {
        wait: Option<Span>,
        why: String,
    },
    /// People have to answer first, and that takes longer than a place is held.
    Parked,
}

pub(crate) type Done<T> = Result<T, Halt>;

impl Halt {
    pub(crate) fn failed(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(class, message))
    }

    /// An ordinary failure, class `error`.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::failed(ErrorClass::Error, message)
    }
}

/// Accidents of this machine (no space, no permission) count as failures of the attempt.
impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::error(format!("{error:#}"))
    }
}

impl From<Halt> for Outcome {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Failed(failure) => Self::failed(failure),
            Halt::Released => Self::Released,
            Halt::Refused { wait, why } => {
                Self::Deferred(Deferral { wait, why, ..Deferral::default() })
            }
            Halt::Parked => Self::Parked,
        }
    }
}
