//! Brings what Postgres writes to its standard error into our log, and keeps its last words.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStderr;
use tracing::Level;

const LINES_KEPT: usize = 8;

/// The last lines that Postgres wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LastWords {
    fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// In one line; what went wrong if anything did, else everything.
    pub(super) fn summary(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |line: &&String| severity(line).is_some_and(|level| level <= Level::WARN);
        let mut chosen: Vec<&str> = lines.iter().filter(wrong).map(String::as_str).collect();
        if chosen.is_empty() {
            chosen.extend(lines.iter().map(String::as_str));
        }
        if chosen.is_empty() { "it said nothing".into() } else { chosen.join("; ") }
    }
}

/// Reads until Postgres and all its children have closed the pipe.
pub(super) async fn follow(stderr: ChildStderr, last_words: LastWords) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    let mut level = Level::INFO;
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        last_words.push(&line);
        // A line without a severity goes on with the one before.
        level = severity(&line).unwrap_or(level);
        record(level, &line);
    }
}

fn record(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!(target: "postgres", "{line}"),
        Level::WARN => tracing::warn!(target: "postgres", "{line}"),
        _ => tracing::debug!(target: "postgres", "{line}"),
    }
}

/// A refused statement is an answer to whoever sent it, so an ERROR of Postgres is none of ours.
fn severity(line: &str) -> Option<Level> {
    let (severity, message) = line.split_once(":  ")?;
    match severity {
        "FATAL" | "WARNING" if is_usual(message) => Some(Level::DEBUG),
        "PANIC" => Some(Level::ERROR),
        "FATAL" | "WARNING" => Some(Level::WARN),
        "ERROR" | "LOG" | "NOTICE" | "INFO" => Some(Level::DEBUG),
        // Of the launcher and the loader, before Postgres itself speaks.
        _ => None,
    }
}

/// What every start, stop and restart of Postgres tells each connection: the reason is said elsewhere.
fn is_usual(message: &str) -> bool {
    const USUAL: [&str; 6] = [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is shutting down",
        "the database system is in recovery mode",
        "terminating connection due to administrator command",
        "terminating connection because of crash of another server process",
    ];
    USUAL.iter().any(|usual| message.starts_with(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_or_stop_is_nothing_to_warn_of() {
        for (line, level) in [
            ("FATAL:  the database system is starting up", Level::DEBUG),
            ("FATAL:  terminating connection due to administrator command", Level::DEBUG),
            ("FATAL:  could not open file", Level::WARN),
            ("WARNING:  something odd", Level::WARN),
            ("PANIC:  the database system is shutting down", Level::ERROR),
        ] {
            assert_eq!(severity(line), Some(level), "{line}");
        }
    }

    #[test]
    fn the_last_words_tell_what_went_wrong() {
        let words = LastWords::default();
        assert_eq!(words.summary(), "it said nothing");
        for line in ["LOG:  starting", "FATAL:  no space left", "LOG:  shut down"] {
            words.push(line);
        }
        assert_eq!(words.summary(), "FATAL:  no space left");
        words.push("FATAL:  terminating connection due to administrator command");
        assert_eq!(words.summary(), "FATAL:  no space left");
        (0..LINES_KEPT).for_each(|_| words.push("LOG:  fine"));
        assert!(words.summary().starts_with("LOG:  fine; "));
    }
}
