//! What `/proc` says about processes: enough to find those of an attempt and never to mistake a
//! recycled number for one of them. It kills nothing.

use std::{
    fs::{self, File},
    io::Read as _,
};

use nix::unistd::Pid;

/// Calls `visit` with each process other than this one and the entries of its environment as it
/// was when its program started.
pub(crate) fn visit_environments(mut visit: impl FnMut(Pid, &[u8])) {
    let mut environ = Vec::new();
    for pid in pids().filter(|pid| *pid != Pid::this()) {
        environ.clear();
        // Gone meanwhile, or not ours: nothing to see either way.
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|mut file| file.read_to_end(&mut environ));
        if read.is_ok() {
            environ.split(|byte| *byte == 0).for_each(|entry| visit(pid, entry));
        }
    }
}

fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// The name of a process's program.
pub(crate) fn name(pid: Pid) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Everything that a process started and what that started, as far as it has not detached itself.
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = pids().filter_map(|it| Some((it, parent(it)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(it, _)| *it));
        next += 1;
    }
    found.split_off(1)
}

/// Whether no thread of a process runs: each is stopped, or has ended.
pub(crate) fn stands(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { return true };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('T' | 't' | 'Z' | 'X'))
    })
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// When a process started, in clock ticks since the machine did: together with its number, and as
/// long as the machine runs, it names one process for ever. `None` when there is no such process.
pub(crate) fn started(pid: Pid) -> Option<u64> {
    parse_started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses and may hold anything.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Differs after every start of the machine; empty where the system does not say.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = "12 (a) Z 1 (b) S 1 12 12 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(parse_started(line), Some(98765));
        assert_eq!(parse_started("nonsense"), None);
        assert!(started(Pid::this()).unwrap() > 0);
    }
}
