//! Finishers, cancels, reapers and control loops of several processes on the same sessions at once:
//! nothing waits for what waits for it, nothing is counted twice, and nothing starts too early.

#![expect(clippy::unwrap_used, reason = "a query that fails is a failed test")]

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jobshop_engine::{
    id::{Fence, SessionKey},
    store::{Store, claim::Held, control, sessions, transition::Move, workers},
};
use jobshop_tests::{
    Stage,
    stage::{Player, failed, released, retried, succeeded},
    truth, wait,
};
use rand::{Rng, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LAYERS: usize = 8;
const WIDTH: usize = 12;

/// A graph in layers, each task needing up to three of the layer before, so that many of them wait
/// for the same ones. Some go on whatever happened before them.
fn layered(chance: &mut StdRng, name: &str) -> String {
    let mut tasks = Vec::new();
    for layer in 0..LAYERS {
        for n in 0..WIDTH {
            let mut needs: Vec<String> = if layer == 0 {
                Vec::new()
            } else {
                let before = layer - 1;
                (0..chance.random_range(1..=3))
                    .map(|_| format!("l{before}-{}", chance.random_range(0..WIDTH)))
                    .collect()
            };
            needs.sort();
            needs.dedup();
            let join = if chance.random_bool(0.3) { "join: all_done, " } else { "" };
            let failing = if chance.random_bool(0.1) { "continue_on_failure: true, " } else { "" };
            tasks.push(format!(
                "l{layer}-{n}: {{ {join}{failing}needs: [{}], uses: builtin/noop }}",
                needs.join(", ")
            ));
        }
    }
    format!("{{ version: 1, name: {name}, tasks: {{ {} }} }}", tasks.join(", "))
}

/// Plays workers until nothing is left to do: batches in any order, hand-offs, retries, releases,
/// stale and repeated ends; now and then a worker stops where it stands and another takes its place.
struct Finisher {
    store: Store,
    chance: StdRng,
    stop: CancellationToken,
    /// How likely it is to die with a batch in its hands.
    deaths: f64,
    /// Ends that were accepted, and those that had to be refused.
    accepted: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Finisher {
    async fn run(mut self, stage: Arc<Stage>) {
        let mut player = stage.player("finisher").await;
        let mut receipted: HashSet<SessionKey> = HashSet::new();
        let mut held = Vec::new();
        while !self.stop.is_cancelled() {
            if held.is_empty() {
                held = player.claim(self.chance.random_range(1..=15)).await;
            }
            if held.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.chance.random_bool(self.deaths) {
                workers::end(&self.store.pool, player.id).await.unwrap();
                player = stage.player("finisher").await;
                receipted.clear();
                held.clear();
                continue;
            }
            held = self.finish(&player, held, &mut receipted).await;
        }
    }

    async fn finish(
        &mut self,
        player: &Player,
        mut held: Vec<Held>,
        receipted: &mut HashSet<SessionKey>,
    ) -> Vec<Held> {
        held.shuffle(&mut self.chance);
        if self.chance.random_bool(0.3) {
            player.note(&held.iter().map(|it| (it.fence, 0)).collect::<Vec<_>>()).await;
        }
        let mut ends: Vec<Move> = held.iter().map(|it| self.end(it)).collect();
        let own = ends.len();
        let stale = held.iter().filter(|_| self.chance.random_bool(0.1));
        ends.extend(stale.map(|it| succeeded(Fence { attempt: it.fence.attempt + 1, ..it.fence })));
        let covered: Vec<SessionKey> = receipted.iter().copied().collect();
        let room = self.chance.random_range(0..10);
        let moved = player.finish_taking(&ends, room, &covered).await;
        receipted.extend(moved.handed.iter().map(|it| it.fence.task.session));
        let good = moved.accepted[..own].iter().filter(|accepted| **accepted).count();
        self.accepted.fetch_add(good, Ordering::Relaxed);
        assert!(!moved.accepted[own..].contains(&true), "a stale end was accepted");
        self.refused.fetch_add(moved.accepted.len() - own, Ordering::Relaxed);
        if self.chance.random_bool(0.3) {
            let again = player.finish(&ends[..own]).await;
            // What goes on after this attempt may have ended again by now.
            let is_last = ends[..own].iter().map(|end| end.to.is_final());
            let answers = again.accepted.iter().zip(&moved.accepted).zip(is_last);
            for ((again, first), _) in answers.filter(|(_, is_last)| *is_last) {
                assert_eq!(again, first, "said again, it is answered the same");
            }
            assert_eq!(again.handed, []);
        }
        moved.handed
    }

    fn end(&mut self, held: &Held) -> Move {
        // The queue of the test has no pauses: what is tried again is due at once.
        let mut end = match self.chance.random_range(0..100) {
            0..3 => failed(held.fence),
            3..7 => retried(held.fence, Duration::ZERO),
            7..10 => return released(held.fence),
            _ => succeeded(held.fence),
        };
        // Nothing was executed: it began when it ended.
        end.started = Some(Duration::ZERO);
        end
    }
}

/// What finishers do to sessions while others cancel some of them, reap and decide.
async fn storm(seed: u64, sessions: usize, cancelled: usize, deaths: f64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let stage = Arc::new(Stage::new().await);
    let mut keys = Vec::new();
    for n in 0..sessions {
        keys.push(stage.submit(&layered(&mut chance, &format!("graph-{n}"))).await);
    }
    let stop = CancellationToken::new();
    let (accepted, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut parts = JoinSet::new();
    for _ in 0..3 {
        parts.spawn(control::run(stage.another_store(), stop.clone()));
    }
    for n in 0..8 {
        let finisher = Finisher {
            store: stage.another_store(),
            chance: StdRng::seed_from_u64(seed * 100 + n),
            stop: stop.clone(),
            deaths,
            accepted: Arc::clone(&accepted),
            refused: Arc::clone(&refused),
        };
        parts.spawn(finisher.run(Arc::clone(&stage)));
    }
    cancel_in_the_middle(&stage, &keys[..cancelled], &accepted).await;
    end_of_everything(&stage).await;
    stop.cancel();
    parts.join_all().await;
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    truth::check_order(stage.db.pool()).await;
    assert!(refused.load(Ordering::Relaxed) > 0);
    assert_eq!(deadlocks(&stage).await, 0);
}

/// Cancels one session after the other, each in the middle of the work.
async fn cancel_in_the_middle(stage: &Stage, keys: &[SessionKey], accepted: &AtomicUsize) {
    for (n, key) in keys.iter().enumerate() {
        wait::until("some progress", wait::LIMIT, async || {
            (accepted.load(Ordering::Relaxed) > (n + 1) * 40).then_some(())
        })
        .await;
        sessions::cancel(&stage.store, *key, None, None).await.unwrap();
    }
}

async fn end_of_everything(stage: &Stage) {
    wait::until("the end of every session", wait::LIMIT, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from tasks where state < 6")
            .fetch_one(stage.db.pool())
            .await
            .unwrap();
        (open == 0).then_some(())
    })
    .await;
}

async fn deadlocks(stage: &Stage) -> i64 {
    sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
        .fetch_one(stage.db.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn finishers_on_shared_fan_ins_never_wait_for_one_another_in_a_circle() {
    storm(1, 6, 0, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_with_cancels_between_them() {
    storm(2, 8, 5, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_with_workers_that_die_and_are_reaped() {
    storm(3, 6, 2, 0.02).await;
}
