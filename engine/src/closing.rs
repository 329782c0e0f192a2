//! How a session comes to its end once its tasks have ended: the result is decided, what follows it
//! runs, the session ends. It does not know rows or time.

use crate::session::SessionState;

/// What of a session is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its tasks; the result is not decided.
    Tasks,
    /// What undoes the tasks that completed.
    Compensation,
    /// What is under `finally`.
    Finally,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Tasks, Self::Compensation, Self::Finally];

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The phase kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.code() == code)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Compensation => "compensation",
            Self::Finally => "finally",
        }
    }
}

/// What a session still has to do after the result is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Tasks that completed and can be undone.
    pub compensation: bool,
    /// Tasks under `finally`.
    pub finally: bool,
}

/// What follows when everything of a phase has ended; `None` is the end of the session. What
/// completed is undone where the session came to a bad end.
pub fn next(phase: Phase, result: SessionState, left: Left) -> Option<Phase> {
    let undoes = left.compensation && calls_for_compensation(result);
    [(Phase::Compensation, undoes), (Phase::Finally, left.finally)]
        .into_iter()
        .find(|(next, is_left)| *next > phase && *is_left)
        .map(|(next, _)| next)
}

/// Whether tasks that completed are undone when this is the result.
pub const fn calls_for_compensation(result: SessionState) -> bool {
    use SessionState as S;
    matches!(result, S::Failed | S::Timeout | S::Stopped)
}

/// What the result becomes by what ran after it was decided: `failed` when something in it failed
/// unallowed, `allowed` when every failure was an allowed one.
pub const fn after(result: SessionState, failed: bool, allowed: bool) -> SessionState {
    if failed {
        SessionState::Failed
    } else if allowed && matches!(result, SessionState::Completed) {
        SessionState::PartiallyCompleted
    } else {
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionState as S;

    #[test]
    fn what_is_left_runs_before_the_end() {
        let all = Left { compensation: true, finally: true };
        let undo = Left { finally: false, ..all };
        let (undoing, finally) = (Some(Phase::Compensation), Some(Phase::Finally));
        assert_eq!(next(Phase::Tasks, S::Failed, all), undoing);
        assert_eq!(next(Phase::Tasks, S::Stopped, undo), undoing);
        assert_eq!(next(Phase::Tasks, S::Completed, all), finally);
        assert_eq!(next(Phase::Tasks, S::PartiallyCompleted, undo), None);
        assert_eq!(next(Phase::Compensation, S::Failed, all), finally);
        assert_eq!(next(Phase::Compensation, S::Timeout, undo), None);
        assert_eq!(next(Phase::Finally, S::Failed, all), None);
        assert_eq!(next(Phase::Tasks, S::Failed, Left::default()), None);
    }

    #[test]
    fn a_failure_after_the_result_makes_it_failed() {
        for result in [S::Completed, S::PartiallyCompleted, S::Failed, S::Timeout, S::Stopped] {
            assert_eq!(after(result, true, true), S::Failed);
            assert_eq!(after(result, false, false), result);
        }
        assert_eq!(after(S::Completed, false, true), S::PartiallyCompleted);
        assert_eq!(after(S::Timeout, false, true), S::Timeout);
    }
}
