//! What can be learnt about a process of this machine from its id: whether it still runs and with
//! which arguments. It starts and signals nothing.

use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::Pid;

/// Whether the process runs; one that ended and only waits to be collected does not.
pub fn is_alive(pid: u32) -> bool {
    let Some(process) = signed(pid) else { return false };
    match signal::kill(process, None) {
        Ok(()) | Err(Errno::EPERM) => !is_zombie(pid),
        Err(_) => false,
    }
}

/// Zero and what would be negative name groups of processes, not one.
fn signed(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program stands in brackets and may hold anything, brackets included.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether the process was started with `flag value` among its arguments. `false` when it is gone
/// or hidden from us.
pub fn has_argument(pid: u32, flag: &str, value: &Path) -> bool {
    let value = value.as_os_str().as_encoded_bytes();
    if let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        return arguments.windows(2).any(|pair| pair == [flag.as_bytes(), value]);
    }
    if Path::new("/proc/self").exists() {
        return false;
    }
    let listed =
        Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    let wanted = [flag.as_bytes(), b" ", value].concat();
    listed.is_ok_and(|it| it.stdout.windows(wanted.len()).any(|part| part == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_alive_until_it_ends_even_when_nobody_collects_it() {
        let mut child = Command::new("cat")
            .arg("--")
            .arg("/dev/stdin")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(is_alive(child.id()));
        drop(child.stdin.take());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(child.id()) {
            assert!(std::time::Instant::now() < deadline, "still alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
