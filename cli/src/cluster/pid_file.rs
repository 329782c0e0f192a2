//! Reads `postmaster.pid`, in which Postgres says who it is and whether it is ready.

use std::path::Path;

pub(super) const NAME: &str = "postmaster.pid";

/// What the file says. It may be the leftover of a crash, so compare the process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    pub(super) is_ready: bool,
}

impl PidFile {
    pub(super) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(cluster.join(NAME)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // Negative in single-user mode.
        let pid = lines.next()?.trim().trim_start_matches('-').parse().ok()?;
        Some(Self { pid, is_ready: lines.nth(6).is_some_and(|status| status.trim() == "ready") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_who_and_the_eighth_whether_it_is_ready() {
        let ready = "42\n/data\n1700000000\n5432\n/run\n\n 1 2\nready   \n";
        assert_eq!(PidFile::parse(ready), Some(PidFile { pid: 42, is_ready: true }));
        let starting = ready.replace("ready", "starting");
        assert_eq!(PidFile::parse(&starting), Some(PidFile { pid: 42, is_ready: false }));
        assert_eq!(PidFile::parse("42\n"), Some(PidFile { pid: 42, is_ready: false }));
        assert_eq!(PidFile::parse(""), None);
    }
}
