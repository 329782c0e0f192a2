//! The lives of workers on a bad way to their database: what they hold, let go and take again.

use std::time::Duration;

use jobshop_engine::{
    id::WorkerId,
    session::SessionState,
    store::claim::{self, Ask, Held},
    task::TaskState,
};
use jobshop_tests::{Fleet, Proxy, Stage, TestDb, proxy::Way, truth, wait};
use jobshop_workers::{
    Worker, WorkerConfig,
    execute::{Executor, ExecutorConfig},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");

fn short_lease(config: &mut WorkerConfig) {
    config.lease = Duration::from_secs(3);
}

/// The newest worker.
async fn worker(fleet: &Fleet) -> WorkerId {
    wait::until("a worker", wait::LIMIT, async || {
        sqlx::query_scalar::<_, Uuid>("select id from workers order by id desc limit 1")
            .fetch_optional(fleet.db.pool())
            .await
            .ok()
            .flatten()
            .map(WorkerId)
    })
    .await
}

/// A claim for a worker that never hears of it.
async fn claim_unheard(fleet: &Fleet, worker: WorkerId) -> Vec<Held> {
    let routes: Vec<i32> = sqlx::query_scalar("select id from routes")
        .fetch_all(fleet.db.pool())
        .await
        .expect("the routes");
    let ask = Ask { worker, routes: &routes, shares: &[], limit: 100, session: None };
    claim::claim(&fleet.store.pool, ask).await.expect("a claim").tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_was_given_without_hearing_of_it_goes_back() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker_with(|config| {
        short_lease(config);
        config.capabilities = Vec::new();
    });
    let worker = worker(&fleet).await;
    // It cannot do this, so it takes none of it by itself.
    let session = fleet
        .submit(
            "
version: 1
name: unheard
tasks:
  a: { uses: builtin/noop, requires: [rust] }
  b: { uses: builtin/noop, requires: [rust] }
",
            Value::Null,
        )
        .await;
    assert_eq!(claim_unheard(&fleet, worker).await.len(), 2);
    truth::check(fleet.db.pool()).await;
    wait::until("both to be ready again", wait::LIMIT, async || {
        let rows = fleet.rows(session).await;
        rows.iter().all(|row| row.state == TaskState::Ready).then_some(())
    })
    .await;
    let rows = fleet.rows(session).await;
    assert!(rows.iter().all(|row| (row.attempt, row.failures) == (1, 0)), "it counts nothing");
    fleet.worker();
    assert_eq!(fleet.end_of(session).await, SessionState::Completed);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

/// Chains beside fans, so that there are hand-offs, and commands beside what takes no time.
const MIXED: &str = "
version: 1
name: mixed
tasks:
  list: { run: \"echo 'items:=[1,2,3,4,5,6,7,8]' >> $JOBSHOP_OUTPUT\" }
  each:
    needs: [list]
    for_each: ${{ tasks.list.outputs.items }}
    tasks:
      a: { uses: builtin/noop }
      b: { needs: [a], uses: builtin/noop }
      c: { needs: [b], run: \"echo $JOBSHOP_FENCE >> $FILE\", env: { FILE: \"${{ inputs.file }}\" } }
      d: { needs: [c], uses: builtin/noop }
  last: { needs: [each], uses: builtin/noop }
inputs:
  file: { type: string }
";

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_lose_no_task_and_record_none_twice() {
    let db = TestDb::new().await;
    let proxy = Proxy::start(db.url()).await;
    let mut fleet = Fleet::through(LAUNCHER, db, proxy.url());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("attempts");
    for _ in 0..2 {
        fleet.worker_with(short_lease);
    }
    worker(&fleet).await;
    proxy.set(Way::Lossy(0.02));
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(fleet.submit(MIXED, json!({ "file": file })).await);
    }
    for session in &sessions {
        assert_eq!(fleet.end_of(*session).await, SessionState::Completed);
    }
    proxy.set(Way::Open);
    for session in &sessions {
        for row in fleet.rows(*session).await {
            assert_eq!(row.state, TaskState::Completed);
        }
    }
    truth::check(fleet.db.pool()).await;
    truth::check_order(fleet.db.pool()).await;
    // Every task ran; what was recorded is what one of its attempts did.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut attempts: Vec<&str> = text.lines().collect();
    let all = attempts.len();
    attempts.sort_unstable();
    attempts.dedup();
    assert_eq!(attempts.len(), all, "no fence was executed twice");
    assert!(all >= 20 * 8);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_out_of_contact_lets_go_before_its_lease_ends_and_begins_anew() {
    let db = TestDb::new().await;
    let proxy = Proxy::start(db.url()).await;
    let mut fleet = Fleet::through(LAUNCHER, db, proxy.url());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("beats");
    fleet.worker_with(short_lease);
    let first = worker(&fleet).await;
    let session = fleet
        .submit(
            "
version: 1
name: beats
inputs: { file: { type: string } }
tasks:
  beat:
    run: |
      if [ $JOBSHOP_ATTEMPT = 1 ]; then
        while true; do date +%s.%N >> $FILE; sleep 0.02; done
      fi
    env: { FILE: \"${{ inputs.file }}\" }
",
            json!({ "file": file }),
        )
        .await;
    wait::until("a beat", wait::LIMIT, async || file.exists().then_some(())).await;
    proxy.set(Way::Silent);
    let lease_until = wait::until("the end of its lease", wait::LIMIT, async || {
        sqlx::query_scalar::<_, Option<f64>>(
            "select extract(epoch from lease_until)::float8 from workers
              where id = $1 and lease_until < clock()",
        )
        .bind(first.0)
        .fetch_optional(fleet.db.pool())
        .await
        .unwrap()
        .flatten()
    })
    .await;
    proxy.set(Way::Open);
    let text = std::fs::read_to_string(&file).unwrap();
    let last_beat: f64 = text.lines().last().unwrap().parse().unwrap();
    assert!(last_beat < lease_until, "it ran on for {} s", last_beat - lease_until);

    assert_eq!(fleet.end_of(session).await, SessionState::Completed);
    assert_ne!(worker(&fleet).await, first, "it goes on under a new id");
    let rows = fleet.rows(session).await;
    assert_eq!(rows[0].attempt, 2);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_handed_on_lets_others_have_their_turn() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    let chain: Vec<String> = (0..150)
        .map(|n| match n {
            0 => "t0: { run: ':' }".to_owned(),
            n => format!("t{n}: {{ needs: [t{}], run: ':' }}", n - 1),
        })
        .collect();
    let chain = format!("{{ version: 1, name: chain, tasks: {{ {} }} }}", chain.join(", "));
    let chain = fleet.submit(&chain, Value::Null).await;
    fleet.worker_with(|config| config.concurrency = 1);
    wait::until("the chain to move", wait::LIMIT, async || {
        (fleet.rows(chain).await[3].state == TaskState::Completed).then_some(())
    })
    .await;
    let urgent = fleet
        .submit(
            "{ version: 1, name: urgent, priority: critical, tasks: { a: { run: ':' } } }",
            Value::Null,
        )
        .await;
    fleet.end_of(urgent).await;
    fleet.end_of(chain).await;
    let between: i64 = sqlx::query_scalar(
        "select count(*) from tasks t, tasks u
          where t.session_id = $1 and u.session_id = $2
            and t.finished_at between u.ready_at and u.started_at",
    )
    .bind(chain.id.0)
    .bind(urgent.id.0)
    .fetch_one(fleet.db.pool())
    .await
    .unwrap();
    assert!(between <= 66, "{between} tasks of the chain went first");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_the_lease_of_the_one_that_had_its_data_directory() {
    let stage = Stage::new().await;
    let (dead, other) = (stage.player("dead").await, stage.player("other").await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("worker");
    std::fs::write(&file, format!("{}\n", dead.id.0)).unwrap();
    let executor = Executor::new(ExecutorConfig::new(dir.path(), LAUNCHER)).unwrap();
    let worker = Worker::new(stage.store.clone(), WorkerConfig::new("next"), executor);
    let stop = CancellationToken::new();
    let taken_over = async {
        wait::until("the end of a lease", wait::LIMIT, async || {
            (!dead.renew().await).then_some(())
        })
        .await;
        let next = wait::until("the next one's id", wait::LIMIT, async || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.trim().parse::<Uuid>().ok().filter(|id| *id != dead.id.0)
        })
        .await;
        assert!(other.renew().await);
        let newest: Uuid = sqlx::query_scalar("select id from workers order by id desc limit 1")
            .fetch_one(stage.db.pool())
            .await
            .unwrap();
        assert_eq!(next, newest);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(worker.run(stop.clone()), taken_over);
    ended.unwrap();
}
