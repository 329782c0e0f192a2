//! Through `PgBouncer` in transaction mode, as `statement_cache = 0` has it.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use jobshop_engine::{
    session::SessionState,
    store::{Store, StoreConfig, sessions, transition::Mover, transition::Takes},
};
use jobshop_tests::{CommandLine, Fleet, PgBouncer, Stage, TestDb, stage::succeeded, truth};
use serde_json::Value;
use tokio::task::JoinSet;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");
const JOBSHOP: &str = env!("CARGO_BIN_EXE_jobshop-cli");

const WIDE: &str = "
version: 1
name: wide
tasks:
  all:
    for_each: ${{ range(40) }}
    tasks:
      one: { uses: builtin/noop }
      two: { needs: [one], when: '${{ item != 3 }}', uses: builtin/noop }
  last: { needs: [all], lock: prod, uses: builtin/noop }
";

/// The database of a test, reached through `PgBouncer`; `None` where that is not installed.
async fn pooled(db: &TestDb) -> Option<(PgBouncer, StoreConfig)> {
    let pooler = PgBouncer::start(&db.url().parse().unwrap()).await?;
    let config = StoreConfig {
        direct_url: Some(db.url().to_owned()),
        statement_cache: 0,
        ..StoreConfig::new(pooler.url(db.name()))
    };
    Some((pooler, config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_run_through_a_transaction_pooler() {
    let db = TestDb::new().await;
    let Some((_pooler, config)) = pooled(&db).await else { return };
    let mut fleet = Fleet::with(LAUNCHER, db, config);
    fleet.worker();
    fleet.worker();
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(fleet.submit(WIDE, Value::Null).await);
    }
    sessions::cancel(&fleet.store, keys[3], None, None).await.unwrap();
    for key in &keys[..3] {
        assert_eq!(fleet.end_of(*key).await, SessionState::Completed);
    }
    assert_eq!(fleet.end_of(keys[3]).await, SessionState::Cancelled);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_ask_at_once_get_their_own_answers() {
    let stage = Stage::new().await;
    let Some((_pooler, config)) = pooled(&stage.db).await else { return };
    let store = Store::new(StoreConfig { connections: 24, ..config }).unwrap();
    let one = "{ version: 1, name: one, tasks: { a: { uses: builtin/noop } } }";
    let keys = stage.submit_many(one, 48).await;
    let player = stage.player("worker").await;
    let held = player.claim(48).await;
    assert_eq!(held.len(), keys.len());
    let mut asking = JoinSet::new();
    for held in held {
        let store = store.clone();
        asking.spawn(async move {
            let session = held.fence.task.session;
            for _ in 0..5 {
                let state = sessions::state(&store.pool, session).await.unwrap();
                assert!(matches!(state, Some(SessionState::Queued | SessionState::Running)));
            }
            let mover = Mover::Worker { id: held.fence.worker, takes: Takes::default() };
            let end = [succeeded(held.fence)];
            let moved =
                jobshop_engine::store::transition::transition(&store.pool, mover, &end, &[], None);
            assert_eq!(moved.await.unwrap().accepted, [true]);
            // What the database refuses is told, and the connection goes on.
            let refused = sqlx::query("select 1 / $1::int").bind(0_i32).execute(&store.pool).await;
            assert!(refused.is_err());
            let unknown = sqlx::query("select nothing_such").execute(&store.pool).await;
            assert!(unknown.is_err());
            assert_eq!(
                sessions::state(&store.pool, session).await.unwrap(),
                Some(SessionState::Completed)
            );
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_runs_a_workflow_through_a_transaction_pooler() {
    let db = TestDb::new().await;
    let Some((pooler, _)) = pooled(&db).await else { return };
    let user = CommandLine::new(JOBSHOP)
        .with("DATABASE_URL", &pooler.url(db.name()))
        .with("DATABASE_DIRECT_URL", db.url())
        .with("JOBSHOP_STATEMENT_CACHE", "0");
    user.write("flow.yaml", "{ version: 1, name: it, tasks: { a: { run: 'echo hello' } } }");
    let answer = tokio::time::timeout(Duration::from_mins(1), async {
        user.run(&["run", "flow.yaml", "--json"])
    });
    let session = answer.await.unwrap().expect(0).json();
    assert_eq!(session["status"], "completed");
    truth::check(db.pool()).await;
}
