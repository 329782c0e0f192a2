//! The last steps of an attempt: a failure ends it at once, unless the failure is allowed. Then the
//! steps go on, because what such a task put out counts. It does not know what the steps are.

use jobshop_engine::outcome::{Failure, Outcome};
use serde_json::Value;

use super::{
    halt::{Done, Halt},
    output::{self, Outputs},
};

/// What the steps came to so far.
#[derive(Debug)]
pub(crate) struct Ending {
    is_failure_allowed: bool,
    failure: Option<Failure>,
}

impl Ending {
    pub(crate) fn new(is_failure_allowed: bool) -> Self {
        Self { is_failure_allowed, failure: None }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What a step gave; none where it failed and that is allowed. The first failure is the
    /// attempt's.
    pub(crate) fn take<T>(&mut self, step: Done<T>) -> Done<Option<T>> {
        match step {
            Ok(given) => Ok(Some(given)),
            Err(Halt::Failed(failure)) if self.is_failure_allowed => {
                self.failure.get_or_insert(failure);
                Ok(None)
            }
            Err(halt) => Err(halt),
        }
    }

    /// The attempt's outcome, unless the outputs are larger than allowed.
    pub(crate) fn outcome(mut self, outputs: Outputs, bytes_max: usize) -> Done<Outcome> {
        let is_stored = self.take(output::check_size(&outputs, bytes_max))?.is_some();
        let outputs = Value::Object(if is_stored { outputs } else { Outputs::new() });
        Ok(match self.failure {
            None => Outcome::Succeeded(outputs),
            Some(failure) => Outcome::Failed { failure, outputs },
        })
    }
}
