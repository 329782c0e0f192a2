//! How much a run has to do and to break before it counts.

use std::time::Duration;

/// What is asked of a run.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub name: &'static str,
    /// Tasks that are submitted at least.
    pub tasks: usize,
    /// SIGKILLs of Jobshop's processes.
    pub kills: usize,
    /// SIGSTOPs, each ended by a SIGCONT.
    pub freezes: usize,
    /// Ways to the database that break: delayed, reset, silent, one-way, losing replies.
    pub partitions: usize,
    /// Deaths of Postgres: SIGKILL or an immediate stop.
    pub crashes: usize,
    /// Storms of terminated backends, and times with no connection left.
    pub storms: usize,
    /// Times with a full disk, where one can be made.
    pub full_disks: usize,
    pub workers: usize,
    pub servers: usize,
    /// The longest that faults and load may take.
    pub limit: Duration,
}

const PR: Profile = Profile {
    name: "pr",
    tasks: 5_000,
    kills: 40,
    freezes: 8,
    partitions: 12,
    crashes: 5,
    storms: 6,
    full_disks: 0,
    workers: 4,
    servers: 2,
    limit: Duration::from_mins(5),
};
const NIGHTLY: Profile = Profile {
    name: "nightly",
    tasks: 100_000,
    kills: 500,
    freezes: 1_000,
    partitions: 300,
    crashes: 60,
    storms: 60,
    full_disks: 5,
    workers: 8,
    servers: 3,
    limit: Duration::from_hours(3),
};
const RELEASE: Profile = Profile {
    name: "release",
    tasks: 1_000_000,
    kills: 10_000,
    freezes: 5_000,
    partitions: 2_000,
    crashes: 500,
    storms: 500,
    full_disks: 20,
    limit: Duration::from_hours(10),
    ..NIGHTLY
};

impl Profile {
    pub const ALL: [Self; 3] = [PR, NIGHTLY, RELEASE];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }
}
