//! How a command ends: the exit codes, and a failure with its cause and the next command to type.
//! It does not know which command ran.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// The session ended, but not well.
    SessionFailed,
    /// Wrong arguments, a wrong setting or an invalid workflow.
    Usage,
    /// The server does not know us, or forbids it.
    Auth,
    NotFound,
    /// What was asked contradicts the present state.
    Conflict,
    /// Nothing goes on before a person decides.
    Waiting,
    /// It may work later: no server, no database, a full disk.
    Temporary,
    /// The person at the terminal stopped waiting.
    Interrupted,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::SessionFailed => 1,
            Self::Usage => 2,
            Self::Auth => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Waiting => 6,
            Self::Temporary => 75,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command could not do what was asked, and what to type next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Empty when everything has been said already.
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn temporary(message: impl Into<String>) -> Self {
        Self::new(Exit::Temporary, message)
    }

    /// Ends the command without another word.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Writing failed: nobody reads any more (`… | head`) is a quiet end, everything else is not.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::Done);
        }
        Self::temporary(error.to_string())
    }
}

/// An accident: something outside of Jobshop did not work.
impl From<jobshop_engine::store::Error> for Failure {
    fn from(error: jobshop_engine::store::Error) -> Self {
        Self::temporary(format!("the database did not do it: {error}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::temporary(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure, Failure::silent(Exit::Done));
    }

    #[test]
    fn a_failure_keeps_its_code_through_anyhow() {
        let refusal = Failure::new(Exit::Conflict, "in use").hint("wait");
        let error = anyhow::Error::new(refusal.clone()).context("starting");
        assert_eq!(Failure::from(error), refusal);
        let accident = Failure::from(anyhow::anyhow!("disk").context("writing"));
        assert_eq!((accident.exit, accident.message.as_str()), (Exit::Temporary, "writing: disk"));
    }
}
