//! Many at once on the same locks, failing, dying and being cancelled: never more hold than may, nobody
//! waits in a circle, and nothing is left over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jobshop_engine::{
    store::{Store, control, sessions, steer, transition::Move, workers},
    task::TaskState,
};
use jobshop_tests::{
    Stage,
    stage::{failed, released, retried, succeeded},
    truth, wait,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::line::tickets;

const CLIENTS: u64 = 32;
/// For what 32 of them do on one machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Six tasks, each with three of five locks, some of them in items that take one more name.
const WORKFLOW: &str = "{ version: 1, name: storm, concurrency: { key: storm, limit: 8 }, tasks: {
    a: { lock: [l1, l2, l3], retry: { max_attempts: 3 }, uses: builtin/noop },
    b: { lock: [l3, l4, { name: l5, limit: 2 }], uses: builtin/noop, continue_on_failure: true },
    c: { lock: [l5, l1, l4], needs: [a], join: all_done, uses: builtin/noop },
    d: { lock: [l2, l4, l1], uses: builtin/noop },
    e: { for_each: [l1, l2, l6], lock: ['${{ item }}', l4, l3], tasks: { f: { uses: builtin/noop } } },
    g: { lock: [l2, l5, l6], needs: [d], tasks: { h: { uses: builtin/noop } } } } }";

/// Plays a worker until nothing is left to do.
async fn client(stage: Arc<Stage>, store: Store, seed: u64, stop: CancellationToken) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut player = stage.player("client").await;
    player.store = store.clone();
    while !stop.is_cancelled() {
        let held = player.claim(chance.random_range(1..=3)).await;
        if held.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        if chance.random_bool(0.05) {
            workers::end(&store.pool, player.id).await.unwrap();
            player = stage.player("client").await;
            player.store = store.clone();
            continue;
        }
        let ends: Vec<Move> = held
            .iter()
            .map(|held| {
                let mut end = match chance.random_range(0..100) {
                    0..8 => failed(held.fence),
                    8..16 => retried(held.fence, Duration::ZERO),
                    16..24 => released(held.fence),
                    _ => succeeded(held.fence),
                };
                end.locks = end.to.is_final();
                end
            })
            .collect();
        player.finish_taking(&ends, chance.random_range(0..3), &[]).await;
    }
}

/// Looks every 10 ms at who holds; returns how often it looked.
async fn watch(stage: Arc<Stage>, stop: CancellationToken) -> usize {
    let mut every = tokio::time::interval(Duration::from_millis(10));
    let mut looks = 0;
    while !stop.is_cancelled() {
        every.tick().await;
        let broken: Vec<String> = sqlx::query_scalar(
            "select format('%s: %s hold it, %s counted, of %s', l.name, n.held, l.held, l.capacity)
               from limits l
              cross join lateral (
                    select count(*) as held from tickets t
                     where t.tenant_id = l.tenant_id and t.kind = l.kind and t.name = l.name
                       and t.held) n
              where n.held > l.capacity or n.held <> l.held",
        )
        .fetch_all(stage.db.pool())
        .await
        .unwrap();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        let running: Vec<String> = sqlx::query_scalar(
            "select format('%s/%s runs without its locks', r.session_id, r.seq)
               from tasks r
              where r.state in (1, 3) and r.flags & 2048 <> 0
                and 3 <> (select count(*) from tickets t
                           where t.tenant_id = r.tenant_id and t.session_id = r.session_id
                             and t.seq = r.seq and t.held)",
        )
        .fetch_all(stage.db.pool())
        .await
        .unwrap();
        assert!(running.is_empty(), "{}", running.join("\n"));
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_hold_a_lock_than_may() {
    let stage = Arc::new(Stage::new().await);
    let keys = stage.submit_many(WORKFLOW, 16).await;
    let stop = CancellationToken::new();
    let stores: Vec<Store> = (0..3).map(|_| stage.another_store()).collect();
    let mut parts = JoinSet::new();
    for store in &stores {
        parts.spawn(control::run(store.clone(), stop.clone()));
    }
    for n in 0..CLIENTS {
        let store = stores[usize::try_from(n).unwrap() % stores.len()].clone();
        parts.spawn(client(Arc::clone(&stage), store, n, stop.clone()));
    }
    let looks = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&looks);
    let watching = watch(Arc::clone(&stage), stop.clone());
    parts.spawn(async move { seen.store(watching.await, Ordering::Relaxed) });
    for (n, key) in keys.iter().enumerate().step_by(3) {
        wait::until("some progress", LIMIT, async || {
            let ended: i64 = sqlx::query_scalar("select count(*) from tasks where state >= 6")
                .fetch_one(stage.db.pool())
                .await
                .unwrap();
            (ended >= i64::try_from(n).unwrap() * 5).then_some(())
        })
        .await;
        let by = steer::By::default();
        if n % 2 == 0 {
            // It may have ended.
            let _ = sessions::cancel(&stage.store, *key, None, None).await;
        } else if steer::pause(&stage.store, *key, by).await.is_ok() {
            steer::resume(&stage.store, *key, by).await.unwrap();
        }
    }
    wait::until("the end of every session", LIMIT, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from session_progress where state < 5 or sweep > 0",
        )
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    stop.cancel();
    parts.join_all().await;
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(tickets(&stage).await, 0);
    assert!(looks.load(Ordering::Relaxed) > 20);
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(stage.db.pool())
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
    for key in keys {
        let tasks = stage.states(key).await;
        assert!(tasks.iter().copied().all(TaskState::is_final));
    }
}
