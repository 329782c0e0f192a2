//! The process groups of this data directory: recorded while they live, so that the next life of
//! the directory kills what this one leaves behind; and the end of everything an attempt started.
//! It does not know what the groups execute.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{
    environment,
    halt::Done,
    proc,
    still::{self, Still},
    sweep::{Sweep, Wanted},
};

/// The leaders of the groups that run now.
type Live = Arc<Mutex<BTreeSet<Pid>>>;

/// The folder of records, a file per group named by its leader.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    dir: PathBuf,
    boot_id: String,
    sweep: Sweep,
    live: Live,
}

/// A group that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Group {
    sweep: Sweep,
    live: Live,
    leader: Pid,
    record: PathBuf,
}

impl Groups {
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let (sweep, live) = (Sweep::default(), Live::default());
        Ok(Self { dir, boot_id: proc::boot_id(), sweep, live })
    }

    /// Records the group that `leader` leads. A child that has ended already still has its entry
    /// in `/proc`, because nobody has waited for it.
    pub(crate) fn record(&self, leader: Pid) -> io::Result<Group> {
        let record = self.dir.join(leader.to_string());
        let (sweep, live) = (self.sweep.clone(), Arc::clone(&self.live));
        locked(&live).insert(leader);
        let group = Group { sweep, live, leader, record };
        let started = proc::started(leader).unwrap_or(0);
        fs::write(&group.record, format!("{started} {}\n", self.boot_id))?;
        Ok(group)
    }

    /// Kills every group that runs, at once and without waiting for anything.
    pub(crate) fn kill_all(&self) {
        for leader in locked(&self.live).iter() {
            let _ = killpg(*leader, Signal::SIGKILL);
        }
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
    /// Bubblewrap would end at once and take with it what is inside: whoever is asked to end in a
    /// sandbox is asked there.
    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::SIGTERM && proc::name(self.leader).is_some_and(|name| name == "bwrap")
        {
            for pid in proc::descendants(self.leader) {
                let _ = kill(pid, signal);
            }
            return;
        }
        let _ = killpg(self.leader, signal);
    }

    /// Everything in the group and what came of it, held still.
    pub(crate) async fn hold_still(&self) -> Done<Still> {
        still::hold(self.leader).await
    }

    /// Kills the group and whatever carries `fence` in its environment, however it detached
    /// itself, and waits until all of it is gone. Returns false when something would not go.
    ///
    /// Call it right after the leader was waited for: its number cannot have been given away yet,
    /// or still names its group.
    pub(crate) async fn end(self, fence: &str) -> bool {
        let (sweep, record) = (self.sweep.clone(), self.record.clone());
        drop(self);
        let wanted = format!("{}={fence}", environment::FENCE).into_bytes();
        let is_gone = sweep.kill(Wanted::Entry(wanted)).await;
        // Until here a crash would have left something to look for.
        let _ = fs::remove_file(record);
        is_gone
    }
}

impl Drop for Group {
    /// The record stays: what left the group is found at the next start.
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        locked(&self.live).remove(&self.leader);
    }
}

fn locked(live: &Live) -> MutexGuard<'_, BTreeSet<Pid>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
