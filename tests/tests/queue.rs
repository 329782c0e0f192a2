//! The order of the queue, claims beside one another, hand-offs, and what is delayed.

use std::{collections::HashSet, time::Duration};

use chrono::Utc;
use jobshop_engine::{
    id::TaskKey,
    store::{
        claim::{self, Ask, Held},
        control, sessions,
    },
    task::TaskState,
};
use jobshop_tests::{
    Stage,
    stage::{Player, released, retried, succeeded, task},
    truth,
};
use tokio::task::JoinSet;

/// `count` tasks that need nothing.
fn independent(count: usize) -> String {
    let tasks: Vec<String> =
        (0..count).map(|n| format!("t{n}: {{ uses: builtin/noop }}")).collect();
    format!("{{ version: 1, name: independent-{count}, tasks: {{ {} }} }}", tasks.join(", "))
}

fn seqs(held: &[Held]) -> Vec<i32> {
    held.iter().map(|held| held.fence.task.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claimers_at_once_all_get_work_and_never_the_same() {
    let stage = Stage::new().await;
    stage.submit(&independent(400)).await;
    let players: Vec<Player> =
        futures::future::join_all((0..8).map(|n| stage.player(["a", "b"][n % 2]))).await;
    let mut taken: HashSet<TaskKey> = HashSet::new();
    for _ in 0..10 {
        let mut claims = JoinSet::new();
        for player in players.clone() {
            claims.spawn(async move { player.claim(5).await });
        }
        for held in claims.join_all().await {
            assert!(!held.is_empty(), "there is work for everybody");
            taken.extend(held.iter().map(|held| held.fence.task));
        }
    }
    let left = players[0].claim(400).await;
    taken.extend(left.iter().map(|held| held.fence.task));
    assert_eq!(taken.len(), 400);
    let taken_twice = stage.tasks(
        left.first()
            .map_or_else(|| taken.iter().next().unwrap().session, |held| held.fence.task.session),
    );
    assert!(taken_twice.await.iter().all(|task| task.attempt == 1));
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn critical_goes_first_and_waiting_tasks_age() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let all = |priority: &str| {
        format!(
            "{{ version: 1, name: p-{priority}, priority: {priority}, \
             tasks: {{ a: {{ uses: builtin/noop }} }} }}"
        )
    };
    let deferred = stage.submit(&all("deferred")).await;
    let low = stage.submit(&all("low")).await;
    stage.db.advance(Duration::from_mins(29)).await;
    let medium = stage.submit(&all("medium")).await;
    stage.db.advance(Duration::from_mins(2)).await;
    let younger = stage.submit(&all("medium")).await;
    let high = stage.submit(&all("high")).await;
    let critical = stage.submit(&all("critical")).await;
    let player = stage.player("player").await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(player.claim_one().await.fence.task.session);
    }
    assert_eq!(order, [critical, high, medium, low, younger, deferred]);
}

#[tokio::test]
async fn a_worker_gets_only_what_it_can_do() {
    let stage = Stage::new().await;
    let session = stage
        .submit(
            "
version: 1
name: routes
tasks:
  any: { uses: builtin/noop }
  rust: { uses: builtin/noop, requires: [rust] }
  both: { uses: builtin/noop, requires: [rust, planning] }
  after: { uses: builtin/noop, needs: [any], requires: [planning] }
  then: { uses: builtin/noop, needs: [any] }
",
        )
        .await;
    let none = stage.player_with("none", &[], &[]).await;
    let rust = stage.player_with("rust", &["rust"], &[]).await;
    let held = none.claim(10).await;
    assert_eq!(seqs(&held), [1]);
    // What it cannot do is not handed to it either.
    let moved = none.finish_taking(&[succeeded(held[0].fence)], 10, &[]).await;
    assert_eq!(seqs(&moved.handed), [5]);
    assert_eq!(moved.ready, 1);
    assert_eq!(stage.task(session, 4).await.state(), TaskState::Ready);
    assert_eq!(seqs(&rust.claim(10).await), [2]);
    let both = stage.player_with("both", &["planning", "rust"], &[]).await;
    let mut rest = seqs(&both.claim(10).await);
    rest.sort_unstable();
    assert_eq!(rest, [3, 4]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_worker_of_one_session_takes_nothing_else() {
    let stage = Stage::new().await;
    let [_, mine, _] = stage.submit_many(&independent(3), 3).await[..] else { unreachable!() };
    let player = stage.player("player").await;
    let ask = Ask {
        worker: player.id,
        routes: &player.routes,
        shares: &[],
        limit: 10,
        session: Some(mine.id),
    };
    let taken = claim::claim(&stage.store.pool, ask).await.unwrap().tasks;
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|held| held.fence.task.session == mine));
}

#[tokio::test]
async fn a_finish_takes_at_most_what_there_is_room_for() {
    let stage = Stage::new().await;
    let needs: Vec<String> =
        (0..10).map(|n| format!("n{n}: {{ needs: [first], uses: builtin/noop }}")).collect();
    let wide = format!(
        "{{ version: 1, name: wide, tasks: {{ first: {{ uses: builtin/noop }}, {} }} }}",
        needs.join(", ")
    );
    let session = stage.submit(&wide).await;
    let player = stage.player("player").await;
    let first = player.claim_one().await;
    let moved = player.finish_taking(&[succeeded(first.fence)], 4, &[]).await;
    assert_eq!((moved.handed.len(), moved.ready), (4, 6));
    assert!(moved.receipt.is_some());
    assert!(
        moved.handed.iter().all(|held| held.fence.attempt == 1 && held.fence.worker == player.id)
    );
    truth::check(stage.db.pool()).await;

    // A session that a receipt names already gets no other.
    let receipts = stage.receipts().await;
    let ends: Vec<_> = moved.handed.iter().map(|held| succeeded(held.fence)).collect();
    let moved = player.finish_taking(&ends, 4, &[session]).await;
    assert_eq!((moved.receipt, stage.receipts().await), (None, receipts));
    assert_eq!(player.claim(10).await.len(), 6);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn nothing_is_handed_over_in_a_session_that_fails_fast() {
    let stage = Stage::new().await;
    let session = stage
        .submit(
            "
version: 1
name: fast
fail_fast: true
tasks:
  bad: { uses: builtin/fail }
  good: { uses: builtin/noop }
  next: { uses: builtin/noop, needs: [good] }
",
        )
        .await;
    let player = stage.player("player").await;
    let held = player.claim(2).await;
    let bad = held.iter().find(|held| held.fence.task.seq == 1).unwrap();
    let good = held.iter().find(|held| held.fence.task.seq == 2).unwrap();
    assert!(player.ends(jobshop_tests::stage::failed(bad.fence)).await);
    let moved = player.finish_taking(&[succeeded(good.fence)], 10, &[]).await;
    assert_eq!(moved.accepted, [true]);
    assert_eq!(moved.handed, []);
    assert!(player.claim(10).await.is_empty());
    stage.settle().await;
    assert_eq!(stage.task(session, 3).await.state(), TaskState::Cancelled);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn delayed_tasks_come_back_when_they_are_due_and_no_sooner() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let session = stage.submit(&independent(3)).await;
    let player = stage.player("player").await;
    let mut held = player.claim(3).await;
    held.sort_by_key(|held| held.fence.task.seq);
    for (held, secs) in held.iter().zip([20, 5, 10]) {
        assert!(player.ends(retried(held.fence, Duration::from_secs(secs))).await);
    }
    let mut order = Vec::new();
    for secs in [4, 1, 4, 1, 9, 1] {
        stage.db.advance(Duration::from_secs(secs)).await;
        stage.settle().await;
        order.push(seqs(&player.claim(3).await));
        assert!(player.renew().await);
    }
    assert_eq!(order, [vec![], vec![2], vec![], vec![3], vec![], vec![1]]);
    assert_eq!(stage.tasks(session).await.iter().map(|task| task.attempt).sum::<i32>(), 6);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn what_is_promoted_together_is_claimed_by_priority() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let session = stage
        .submit(
            "
version: 1
name: promoted
tasks:
  low: { uses: builtin/noop, priority: low }
  critical: { uses: builtin/noop, priority: critical }
  medium: { uses: builtin/noop }
",
        )
        .await;
    let player = stage.player("player").await;
    for held in player.claim(3).await {
        let delay = Duration::from_secs(u64::try_from(held.fence.task.seq).unwrap());
        assert!(player.ends(retried(held.fence, delay)).await);
    }
    stage.db.advance(Duration::from_secs(10)).await;
    stage.settle().await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(player.claim_one().await.fence.task);
    }
    assert_eq!(order, [2, 3, 1].map(|seq| task(session, seq)));
}

#[tokio::test]
async fn nothing_of_a_cancelled_session_comes_back_from_its_delay() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let session = stage.submit(&independent(2)).await;
    let player = stage.player("player").await;
    let held = player.claim(2).await;
    assert!(player.ends(retried(held[0].fence, Duration::from_secs(1))).await);
    assert!(player.ends(released(held[1].fence)).await);
    stage.db.advance(Duration::from_secs(2)).await;
    sessions::cancel(&stage.store, session, None, None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.states(session).await, [TaskState::Cancelled; 2]);
    assert!(player.claim(2).await.is_empty());
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_no_gap_under_eight_finishers() {
    let stage = Stage::new().await;
    stage.submit_many(&independent(100), 6).await;
    let mut finishers = JoinSet::new();
    for n in 0..8_usize {
        let player = stage.player("finisher").await;
        finishers.spawn(async move {
            loop {
                let held = player.claim(7).await;
                if held.is_empty() {
                    return;
                }
                // Some are noted first, some are handed back, all in an order of their own.
                let noted: Vec<_> = held.iter().skip(n % 3).map(|held| (held.fence, 60)).collect();
                player.note(&noted).await;
                let ends: Vec<_> = held
                    .iter()
                    .rev()
                    .map(|it| {
                        let is_handed_back = it.fence.attempt == 1 && it.fence.task.seq % 9 == 0;
                        if is_handed_back { released(it.fence) } else { succeeded(it.fence) }
                    })
                    .collect();
                let moved = player.finish_taking(&ends, 3, &[]).await;
                assert!(moved.accepted.iter().all(|accepted| *accepted));
            }
        });
    }
    finishers.join_all().await;
    let open: i64 = sqlx::query_scalar("select count(*) from tasks where state < 6")
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(open, 0);
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_loops_beside_one_another_reserve_the_rows_of_a_fan_out_once() {
    let stage = Stage::new().await;
    let fan = "
version: 1
name: fan
tasks:
  each: { for_each: [1, 2, 3], tasks: { a: { uses: builtin/noop } } }
";
    stage.submit_many(fan, 40).await;
    let mut loops = JoinSet::new();
    for _ in 0..4 {
        let store = stage.another_store();
        loops.spawn(async move { while control::tick(&store).await.unwrap() > 0 {} });
    }
    loops.join_all().await;
    let next: Vec<i32> = sqlx::query_scalar("select distinct next_seq from session_progress")
        .fetch_all(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(next, [1 + 1 + 3 * 2], "rows were reserved and never used");
    truth::check(stage.db.pool()).await;
}
