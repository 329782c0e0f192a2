//! Workers that are killed while their agents wait for people, again and again.

use std::time::Duration;

use chrono::Utc;
use jobshop_engine::{
    policy::Action,
    question::{Kind, NewQuestion, Text},
    store::questions::{self, Asked},
    task::TaskState,
};
use jobshop_tests::{Stage, truth};

#[tokio::test]
async fn waiting_for_people_does_not_use_up_the_crashes_of_a_task() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let agent = "{ agent: { runtime: opencode, prompt: x } }";
    let key = stage.submit(&format!("{{ version: 1, name: asks, tasks: {{ a: {agent} }} }}")).await;
    let question = NewQuestion {
        kind: Kind::Question,
        tool: "question".to_owned(),
        what: Vec::new(),
        texts: vec![Text { text: "Which?".to_owned(), options: Vec::new() }],
        own: Action::Ask,
    };
    stage.settle().await;
    // More often than a task may crash.
    for round in 0..4 {
        let player = stage.player(&format!("worker {round}")).await;
        let held = player.claim_one().await;
        player.note(&[(held.fence, 60)]).await;
        let asked = questions::ask(&stage.store, held.fence, "1", &question).await.unwrap();
        assert!(matches!(asked, Asked::Open(_)));
        stage.db.advance(Duration::from_secs(31)).await;
        assert_eq!(stage.housekeep().await, 1);
    }
    let task = stage.task(key, 1).await;
    assert_eq!((task.state(), task.crashes), (TaskState::Ready, 0));
    // Who dies without waiting for anybody crashes.
    let player = stage.player("busy").await;
    let held = player.claim_one().await;
    player.note(&[(held.fence, 60)]).await;
    stage.db.advance(Duration::from_secs(31)).await;
    assert_eq!(stage.housekeep().await, 1);
    assert_eq!(stage.task(key, 1).await.crashes, 1);
    truth::check(stage.db.pool()).await;
}
