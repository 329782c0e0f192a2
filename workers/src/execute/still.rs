//! Holds the processes of an attempt still while their workspace is read: whoever runs could put a link
//! to a file of ours in the place of one of theirs between two looks at it. It does not know what is
//! read meanwhile.

use std::{collections::HashSet, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::{
    halt::{Done, Halt},
    proc,
};

/// How long they may take to stand: only what hangs in the kernel needs more.
const STILL_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Processes that stand still. Dropped, they go on.
#[derive(Debug, Default)]
pub(crate) struct Still {
    pids: HashSet<Pid>,
}

/// Holds a process and everything that it started. Whoever stands cannot start anything, so they are
/// all found when a look finds nobody new and everybody standing.
pub(super) async fn hold(leader: Pid) -> Done<Still> {
    let deadline = Instant::now() + STILL_WITHIN;
    let mut still = Still::default();
    loop {
        let mut is_anybody_new = false;
        for pid in std::iter::once(leader).chain(proc::descendants(leader)) {
            if still.pids.insert(pid) {
                is_anybody_new = true;
                let _ = kill(pid, Signal::SIGSTOP);
            }
        }
        if !is_anybody_new && still.pids.iter().all(|pid| proc::stands(*pid)) {
            return Ok(still);
        }
        if Instant::now() >= deadline {
            return Err(Halt::error("the agent's processes do not stand still"));
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for pid in &self.pids {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    /// Nobody of the family outlives the test, whatever becomes of it.
    struct Family(std::process::Child);

    impl Drop for Family {
        fn drop(&mut self) {
            for pid in proc::descendants(Pid::from_raw(self.0.id().cast_signed())) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn nobody_of_a_family_does_anything_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let script = "for n in 1 2 3; do (while :; do echo $n >> count; done) & done; wait";
        let mut bash = Command::new("bash");
        let family = Family(bash.args(["-c", script]).current_dir(dir.path()).spawn().unwrap());
        let leader = Pid::from_raw(family.0.id().cast_signed());
        let length = || fs::metadata(dir.path().join("count")).map_or(0, |found| found.len());
        // All of them are there, and one of them does something.
        while proc::descendants(leader).len() < 3 || length() == 0 {
            tokio::task::yield_now().await;
        }
        let still = hold(leader).await.unwrap();
        assert_eq!(still.pids.len(), 4);
        let before = length();
        for _ in 0..100 {
            assert!(still.pids.iter().all(|pid| proc::stands(*pid)));
        }
        assert_eq!(length(), before);
        drop(still);
        while length() == before {
            tokio::task::yield_now().await;
        }
    }
}
