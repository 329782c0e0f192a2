//! Budgets: what does not fit waits, what an attempt took counts however it ended, and the books
//! balance at every moment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an accident is a failed test")]

mod books;
mod surface;

use std::time::Duration;

use jobshop_engine::{
    budget::Amounts,
    checkpoint::Spend,
    id::{Fence, SessionKey},
    outcome::ErrorClass,
    session::SessionState,
    store::{budgets, steer::By, view::Views},
    task::{Reason, TaskState as T},
};
use jobshop_tests::{
    Stage,
    stage::{Player, released, retried, succeeded},
    truth,
};

const AGENT: &str = "agent: { runtime: scripted, script: /s }";

/// Begins an attempt, which takes so many tokens.
async fn takes(stage: &Stage, fence: Fence, tokens: u64) -> Amounts {
    let share = budgets::begin(stage.db.pool(), fence, None).await.unwrap().unwrap();
    let spend = Spend { output_tokens: tokens, ..Spend::default() };
    budgets::note(stage.db.pool(), fence, &spend).await.unwrap();
    share
}

async fn is_short(stage: &Stage, session: SessionKey, seq: i32) -> bool {
    let task = stage.task(session, seq).await;
    (task.state(), task.reason()) == (T::Blocked, Some(Reason::Budget))
}

/// Limit, used, reserved and left of the tokens of the session.
async fn tokens(stage: &Stage, session: SessionKey) -> (f64, f64, f64, f64) {
    let shown = Views::new(&stage.store, session.tenant).budgets(session).await.unwrap();
    let it = shown.items[0].tokens;
    (it.limit.unwrap_or(-1.0), it.used, it.reserved, it.left.unwrap_or(-1.0))
}

async fn claim(player: &Player) -> Fence {
    player.claim_one().await.fence
}

fn two(budget: &str) -> String {
    format!(
        "{{ version: 1, name: two, budget: {budget}, tasks: {{ a: {{ {AGENT} }}, b: {{ {AGENT} }} }} }}"
    )
}

#[tokio::test]
async fn what_does_not_fit_waits_until_something_comes_back() {
    let stage = Stage::new().await;
    let session = stage.submit(&two("{ tokens: 100, reserve: { tokens: 60 } }")).await;
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert!(is_short(&stage, session, 2).await);
    let why = Views::new(&stage.store, session.tenant).why(session, Some("b")).await.unwrap();
    insta::assert_snapshot!(why.summary, @"`b` waits for the budget of the session: 0 tokens of 100 tokens used, 60 tokens reserved, 40 tokens left, it needs 60 tokens");
    let player = stage.player("player").await;
    let first = claim(&player).await;
    assert_eq!(takes(&stage, first, 30).await, [60, 0, 0]);
    assert!(player.ends(succeeded(first)).await);
    truth::check(stage.db.pool()).await;
    stage.settle().await;
    assert_eq!(tokens(&stage, session).await, (100.0, 30.0, 60.0, 10.0));
    let second = claim(&player).await;
    takes(&stage, second, 61).await;
    assert!(player.ends(succeeded(second)).await);
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(tokens(&stage, session).await, (100.0, 91.0, 0.0, 9.0));
    assert_eq!(stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn every_attempt_counts_however_it_ended() {
    let stage = Stage::new().await;
    let session = stage.submit(&two("{ tokens: 1000, reserve: { tokens: 100 } }")).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim(2).await;
    for task in &held {
        takes(&stage, task.fence, 10).await;
    }
    assert!(player.ends(retried(held[0].fence, Duration::from_mins(1))).await);
    assert!(player.ends(released(held[1].fence)).await);
    truth::check(stage.db.pool()).await;
    stage.settle().await;
    assert_eq!(tokens(&stage, session).await, (1000.0, 20.0, 100.0, 880.0));
    let again = claim(&player).await;
    takes(&stage, again, 50).await;
    player.note(&[(again, 5)]).await;
    // Its worker is lost, and what it said last counts.
    stage.db.advance(Duration::from_mins(2)).await;
    stage.housekeep().await;
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(tokens(&stage, session).await, (1000.0, 70.0, 200.0, 730.0));
    let other = stage.player("other").await;
    for task in other.claim(2).await {
        takes(&stage, task.fence, 1).await;
        assert!(other.ends(succeeded(task.fence)).await);
    }
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(tokens(&stage, session).await, (1000.0, 72.0, 0.0, 928.0));
    assert_eq!(stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn a_budget_that_is_used_up_pauses_until_it_is_raised() {
    let stage = Stage::new().await;
    let session = stage.submit(&two("{ tokens: 100, reserve: { tokens: 100 } }")).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let first = claim(&player).await;
    takes(&stage, first, 100).await;
    assert!(player.ends(succeeded(first)).await);
    stage.settle().await;
    assert_eq!(stage.state(session).await, SessionState::Paused);
    assert!(is_short(&stage, session, 2).await);
    let why = Views::new(&stage.store, session.tenant).why(session, None).await.unwrap();
    assert!(why.summary.contains("of 100 tokens too little is left"), "{}", why.summary);
    let less = budgets::raise(&stage.store, session, None, [Some(100), None, None], By::default());
    assert!(less.await.unwrap_err().to_string().contains("say more than that"));
    let more = [Some(150), None, None];
    budgets::raise(&stage.store, session, None, more, By::default()).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(stage.state(session).await, SessionState::Running);
    let second = claim(&player).await;
    // No more than is left.
    assert_eq!(takes(&stage, second, 50).await, [50, 0, 0]);
    assert!(player.ends(succeeded(second)).await);
    assert_eq!(stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn or_the_task_fails() {
    let stage = Stage::new().await;
    let session =
        stage.submit(&two("{ tokens: 100, on_exceed: fail, reserve: { tokens: 100 } }")).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let first = claim(&player).await;
    takes(&stage, first, 100).await;
    assert!(player.ends(succeeded(first)).await);
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(stage.states(session).await, [T::Completed, T::Failed]);
    let error = stage.task(session, 2).await.error.unwrap();
    assert_eq!(error["class"], serde_json::json!(ErrorClass::Budget));
}
