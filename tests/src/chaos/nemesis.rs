//! Who breaks things: four hands that strike beside each other, each at times and places that its
//! seed decides, until all have done what the profile asks for.

use std::{
    collections::HashMap,
    io::{Read as _, Seek as _, SeekFrom},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::Mutex as Hold,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Run,
    hosts::{self, Host, LEASE_SECS, Role},
};
use crate::{own_cluster, proxy::Way};

/// What was done, and to what effect.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Faults {
    pub kills: usize,
    /// Of these, the ones that hit a process with a running attempt.
    pub kills_of_running: usize,
    pub freezes: usize,
    pub delays: usize,
    pub lost_replies: usize,
    pub one_way: usize,
    pub black_holes: usize,
    pub resets: usize,
    pub postgres_kills: usize,
    pub postgres_immediate_stops: usize,
    pub backend_terminations: usize,
    pub pool_exhaustions: usize,
    pub full_disks: usize,
    pub clock_jumps: usize,
    /// How workers and servers ended though nobody had killed them.
    #[serde(skip)]
    pub exits: Vec<String>,
    /// Workers that were killed, and when, for the time that recovery took.
    #[serde(skip)]
    pub killed: Vec<(Uuid, i64)>,
}

impl Faults {
    pub fn partitions(&self) -> usize {
        self.delays + self.lost_replies + self.one_way + self.black_holes + self.resets
    }

    pub fn crashes(&self) -> usize {
        self.postgres_kills + self.postgres_immediate_stops
    }

    pub fn storms(&self) -> usize {
        self.backend_terminations + self.pool_exhaustions
    }
}

/// All that the hands share.
#[derive(Debug)]
pub(super) struct Nemesis {
    pub run: Arc<Run>,
    pub db: PgPool,
    pub faults: Mutex<Faults>,
    /// One for each host: who holds it may strike it.
    pub holds: Vec<Hold<()>>,
    running: Mutex<Running>,
}

/// What a kill is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    /// A worker, whatever it does.
    Worker,
    /// A worker in the middle of something.
    Running,
}

/// The commands that have begun and not ended, by their worker.
#[derive(Debug, Default)]
struct Running {
    read_to: u64,
    open: HashMap<Uuid, i64>,
}

impl Nemesis {
    pub(super) fn new(run: Arc<Run>, db: PgPool) -> Self {
        let holds = run.hosts.iter().map(|_| Hold::new(())).collect();
        Self { run, db, faults: Mutex::default(), holds, running: Mutex::default() }
    }

    /// What was done, at the end.
    pub(super) fn into_faults(self) -> Faults {
        self.faults.into_inner().expect("nobody panics here")
    }

    fn record(&self, note: impl FnOnce(&mut Faults)) {
        note(&mut self.faults.lock().expect("nobody panics here"));
    }

    fn count(&self, of: impl FnOnce(&Faults) -> usize) -> usize {
        of(&self.faults.lock().expect("nobody panics here"))
    }

    fn random(&self, hand: u64) -> StdRng {
        StdRng::seed_from_u64(self.run.seed.wrapping_mul(31).wrapping_add(hand))
    }

    /// How many commands of this worker run, by their own file.
    fn running(&self, worker: Uuid) -> i64 {
        let mut running = self.running.lock().expect("nobody panics here");
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(&self.run.journal)
            && file.seek(SeekFrom::Start(running.read_to)).is_ok()
            && file.read_to_string(&mut text).is_ok()
        {
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            running.read_to += whole as u64;
            for line in text[..whole].lines() {
                let Some((kind, rest)) = line.split_once(' ') else { continue };
                let fence = rest.split(' ').next().unwrap_or_default();
                let Ok(worker) = fence.rsplit('/').next().unwrap_or_default().parse() else {
                    continue;
                };
                *running.open.entry(worker).or_default() += match kind {
                    "b" => 1,
                    "e" => -1,
                    _ => 0,
                };
            }
        }
        running.open.get(&worker).copied().unwrap_or(0)
    }

    /// Kills processes: mostly a worker in the middle of something.
    pub(super) async fn kill(&self, stop: &CancellationToken) {
        let mut random = self.random(1);
        let skews = hosts::can_skew();
        while self.goes_on(stop, |faults| faults.kills, self.run.profile.kills) {
            if !pause(&mut random, 500..3_000, stop).await {
                return;
            }
            let victim = match random.random_range(0..20) {
                0 => Victim::Server,
                1 => Victim::Worker,
                _ => Victim::Running,
            };
            let Some((host, worker, runs, _hold)) = self.victim(&mut random, victim, stop).await
            else {
                return;
            };
            host.kill();
            let at = super::now();
            self.record(|faults| {
                faults.kills += 1;
                faults.kills_of_running += usize::from(runs > 0);
                faults.killed.extend(worker.map(|worker| (worker, at)));
            });
            pause(&mut random, 100..1_500, stop).await;
            let skew = (skews && random.random_bool(0.3)).then(|| random.random_range(-10..=10));
            if skew.is_some() {
                self.record(|faults| faults.clock_jumps += 1);
            }
            host.start_again(random.random_bool(0.4), skew);
        }
    }

    /// Waits until there is such a process that nobody strikes at the moment: itself, the worker that
    /// it is, and how many commands it runs. `None` when the run is over.
    async fn victim(
        &self,
        random: &mut StdRng,
        victim: Victim,
        stop: &CancellationToken,
    ) -> Option<(&Host, Option<Uuid>, i64, tokio::sync::MutexGuard<'_, ()>)> {
        loop {
            if let Some((at, hold)) = self.choose(random, victim == Victim::Server) {
                let host = &self.run.hosts[at];
                let worker = host.worker_id(&self.db).await;
                let runs = worker.map_or(0, |worker| self.running(worker));
                if runs > 0 || victim != Victim::Running {
                    return Some((host, worker, runs, hold));
                }
            }
            if !pause(random, 10..50, stop).await {
                return None;
            }
        }
    }

    /// Freezes processes, from a part of a lease to several.
    pub(super) async fn freeze(&self, stop: &CancellationToken) {
        let mut random = self.random(2);
        while self.goes_on(stop, |faults| faults.freezes, self.run.profile.freezes) {
            if !pause(&mut random, 500..4_000, stop).await {
                return;
            }
            let wants_server = random.random_bool(0.2);
            let Some((at, _hold)) = self.choose(&mut random, wants_server) else { continue };
            let host = &self.run.hosts[at];
            host.send(Signal::SIGSTOP);
            self.record(|faults| faults.freezes += 1);
            let lease = u64::from(LEASE_SECS) * 1_000;
            let longest = if random.random_bool(0.5) { lease * 3 } else { lease };
            pause(&mut random, lease / 2..longest, stop).await;
            host.send(Signal::SIGCONT);
        }
    }

    /// Breaks the ways between processes and Postgres.
    pub(super) async fn partition(&self, stop: &CancellationToken) {
        let mut random = self.random(3);
        while self.goes_on(stop, Faults::partitions, self.run.profile.partitions) {
            if !pause(&mut random, 300..3_000, stop).await {
                return;
            }
            let host = &self.run.hosts[random.random_range(0..self.run.hosts.len())];
            match random.random_range(0..5) {
                0 => {
                    host.way.set(Way::Slow(Duration::from_millis(random.random_range(5..200))));
                    self.record(|faults| faults.delays += 1);
                }
                1 => {
                    host.way.set(Way::Lossy(0.03));
                    self.record(|faults| faults.lost_replies += 1);
                }
                2 => {
                    host.way.set(Way::Mute);
                    self.record(|faults| faults.one_way += 1);
                }
                3 => {
                    host.way.set(Way::Silent);
                    self.record(|faults| faults.black_holes += 1);
                }
                _ => {
                    host.way.reset();
                    self.record(|faults| faults.resets += 1);
                }
            }
            pause(&mut random, 1_000..9_000, stop).await;
            host.way.set(Way::Open);
        }
    }

    /// Strikes Postgres itself.
    pub(super) async fn strike(&self, stop: &CancellationToken) {
        let mut random = self.random(4);
        let profile = self.run.profile;
        loop {
            let crash = self.goes_on(stop, Faults::crashes, profile.crashes);
            let storm = self.goes_on(stop, Faults::storms, profile.storms);
            let fill = self.run.disk.is_some()
                && self.goes_on(stop, |faults| faults.full_disks, profile.full_disks);
            if !(crash || storm || fill) || !pause(&mut random, 2_000..12_000, stop).await {
                return;
            }
            match random.random_range(0..3) {
                0 if crash => self.crash(&mut random).await,
                1 if storm => self.storm(&mut random, stop).await,
                2 if fill => self.fill_disk(stop).await,
                _ => {}
            }
        }
    }

    async fn crash(&self, random: &mut StdRng) {
        let kills = random.random_bool(0.5);
        let signal = if kills { Signal::SIGKILL } else { Signal::SIGQUIT };
        own_cluster::strike(&self.run.folder, &self.run.database, signal).await;
        self.record(|faults| {
            *if kills {
                &mut faults.postgres_kills
            } else {
                &mut faults.postgres_immediate_stops
            } += 1;
        });
    }

    async fn storm(&self, random: &mut StdRng, stop: &CancellationToken) {
        if random.random_bool(0.5) {
            let ended = sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                  where pid <> pg_backend_pid() and backend_type = 'client backend'
                    and random() < 0.7",
            );
            if ended.execute(&self.db).await.is_ok() {
                self.record(|faults| faults.backend_terminations += 1);
            }
            return;
        }
        let mut taken = Vec::new();
        while let Ok(connection) = PgConnection::connect(&self.run.database).await {
            taken.push(connection);
        }
        // With every place taken, whoever lost a connection gets none.
        self.run.hosts.iter().for_each(|host| host.way.reset());
        self.record(|faults| faults.pool_exhaustions += 1);
        pause(random, 1_000..4_000, stop).await;
    }

    async fn fill_disk(&self, stop: &CancellationToken) {
        let Some(disk) = &self.run.disk else { return };
        let mut random = self.random(5);
        disk.fill();
        self.record(|faults| faults.full_disks += 1);
        pause(&mut random, 2_000..5_000, stop).await;
        disk.free();
    }

    /// A host that nobody strikes at the moment.
    fn choose(
        &self,
        random: &mut StdRng,
        wants_server: bool,
    ) -> Option<(usize, tokio::sync::MutexGuard<'_, ()>)> {
        let is_wanted = |host: &Host| (host.role == Role::Worker) != wants_server;
        let wanted: Vec<usize> =
            (0..self.run.hosts.len()).filter(|at| is_wanted(&self.run.hosts[*at])).collect();
        let at = wanted[random.random_range(0..wanted.len())];
        let hold = self.holds[at].try_lock().ok()?;
        let host = &self.run.hosts[at];
        if let Some(how) = host.exit() {
            self.record(|faults| faults.exits.push(how));
            host.start_again(false, None);
        }
        Some((at, hold))
    }

    fn goes_on(
        &self,
        stop: &CancellationToken,
        of: impl FnOnce(&Faults) -> usize,
        wanted: usize,
    ) -> bool {
        !stop.is_cancelled() && self.count(of) < wanted
    }
}

/// Waits for so many milliseconds; false when the run is over.
async fn pause(
    random: &mut StdRng,
    millis: std::ops::Range<u64>,
    stop: &CancellationToken,
) -> bool {
    let while_ = Duration::from_millis(random.random_range(millis));
    tokio::select! {
        () = stop.cancelled() => false,
        () = sleep_until(Instant::now() + while_) => true,
    }
}
