//! The process groups of this data directory: recorded while they live, so that the next life of
//! the directory kills what this one leaves behind; and the end of everything an attempt started.
//! It does not know what the groups execute.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{
    environment, proc,
    sweep::{Sweep, Wanted},
};

/// The folder of records, a file per group named by its leader.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    dir: PathBuf,
    boot_id: String,
    sweep: Sweep,
}

/// A group that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Group {
    sweep: Sweep,
    leader: Pid,
    record: PathBuf,
    is_ended: bool,
}

impl Groups {
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, boot_id: proc::boot_id(), sweep: Sweep::default() })
    }

    /// Records the group that `leader` leads. A child that has ended already still has its entry
    /// in `/proc`, because nobody has waited for it.
    pub(crate) fn record(&self, leader: Pid) -> io::Result<Group> {
        let record = self.dir.join(leader.to_string());
        let group = Group { sweep: self.sweep.clone(), leader, record, is_ended: false };
        let started = proc::started(leader).unwrap_or(0);
        fs::write(&group.record, format!("{started} {}\n", self.boot_id))?;
        Ok(group)
    }

    /// Kills what an earlier life of the data directory left: the recorded groups whose leader is
    /// still the one recorded, and every process that works below `workspaces`. Returns whether
    /// all of it is gone.
    pub(crate) async fn kill_leftovers(&self, workspaces: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if let Some(leader) = self.leftover(&path) {
                let _ = killpg(leader, Signal::SIGKILL);
            }
            fs::remove_file(&path)?;
        }
        let wanted = format!("{}={}/", environment::WORKSPACE, workspaces.display()).into_bytes();
        Ok(self.sweep.kill(Wanted::Beginning(wanted)).await)
    }

    fn leftover(&self, record: &Path) -> Option<Pid> {
        let leader = Pid::from_raw(record.file_name()?.to_str()?.parse().ok()?);
        let text = fs::read_to_string(record).ok()?;
        let (started, boot_id) = text.trim_end().split_once(' ')?;
        let is_same = boot_id == self.boot_id
            && proc::started(leader).is_some_and(|it| started.parse() == Ok(it));
        is_same.then_some(leader)
    }
}

impl Group {
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = killpg(self.leader, signal);
    }

    /// Kills the group and whatever carries `fence` in its environment, however it detached
    /// itself, and waits until all of it is gone. Returns false when something would not go.
    ///
    /// Call it right after the leader was waited for: its number cannot have been given away yet,
    /// or still names its group.
    pub(crate) async fn end(mut self, fence: &str) -> bool {
        self.signal(Signal::SIGKILL);
        self.is_ended = true;
        let wanted = format!("{}={fence}", environment::FENCE).into_bytes();
        let is_gone = self.sweep.kill(Wanted::Entry(wanted)).await;
        let _ = fs::remove_file(&self.record);
        is_gone
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The record stays: what left the group is found at the next start.
        if !self.is_ended {
            self.signal(Signal::SIGKILL);
        }
    }
}
