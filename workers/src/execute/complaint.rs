//! What is wrong with a result, in words for people and for the agent that made it. It does not know
//! what becomes of it.

use jobshop_engine::outcome::Failure;

use super::{command::Exit, halt::Halt};

/// Lines of a command's output that the agent is told.
const TOLD_LINES: usize = 60;
/// Lines that a failure's message repeats where nothing came on the standard error.
const MESSAGE_LINES: usize = 5;

/// What is wrong with a result.
pub(super) struct Complaint {
    /// Of the failure.
    pub(super) message: String,
    /// For the agent.
    pub(super) told: String,
}

impl Complaint {
    pub(super) fn nothing_changed() -> Self {
        let message = "the agent ended without changing anything; where that is fine, say so with \
                       `allow_empty: true`";
        let told = "You ended without changing anything in the workspace, but changes are \
                    expected. Do what you were asked to do.";
        Self { message: message.to_owned(), told: told.to_owned() }
    }

    pub(super) fn changed(files: &[String]) -> Self {
        let message = format!(
            "verify failed: its commands changed {}, so what passed is not what was committed",
            files.join(", ")
        );
        let told =
            format!("Your work was verified. The verification itself changes files: {message}");
        Self { message, told }
    }

    /// What is wrong with how a command ended.
    pub(super) fn of(command: &str, exit: &Exit) -> Option<Self> {
        let Err(Halt::Failed(Failure { message: mut how, .. })) = exit.check() else { return None };
        if exit.stderr.trim().is_empty() && !exit.stdout.trim().is_empty() {
            how = format!("{how}: {}", last(&exit.stdout, MESSAGE_LINES));
        }
        let told = format!(
            "Your work so far is committed and in the workspace. It was verified with\n\n{command}\n\n\
             and that failed:\n\n{how}\n\nThe end of what it printed:\n\n{}\n{}\n\nPut that right.",
            last(&exit.stdout, TOLD_LINES),
            last(&exit.stderr, TOLD_LINES),
        );
        let name = command.lines().next().unwrap_or_default();
        Some(Self { message: format!("verify failed: `{name}`: {how}"), told })
    }
}

fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
