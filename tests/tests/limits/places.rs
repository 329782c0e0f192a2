//! Places of sessions: who runs, who waits for whom, and that places are left whatever way a session ends.

use std::{sync::Arc, time::Duration};

use jobshop_engine::{
    id::{SessionKey, TenantId},
    plan::OnFull,
    session::SessionState as S,
    store::{
        applying,
        sessions::{self, CreateError, NewSession, SteerError},
        steer, workflows,
    },
    task::TaskState as T,
};
use jobshop_tests::{
    Stage,
    stage::{Player, failed, succeeded},
    truth,
};
use serde_json::json;

use crate::line::{line, tickets};

/// One task per session, so many sessions of a repository at once.
fn limited(limit: u32, on_full: OnFull) -> String {
    let on_full = serde_json::to_value(on_full).unwrap();
    format!(
        "{{ version: 1, name: limited, inputs: {{ repo: {{ default: web }} }},
            concurrency: {{ key: \"repo-${{{{ inputs.repo }}}}\", limit: {limit}, on_full: {on_full} }},
            tasks: {{ a: {{ uses: builtin/noop }} }} }}"
    )
}

async fn works(stage: &Stage, player: &Player) -> SessionKey {
    let held = player.claim_one().await;
    assert!(player.ends(succeeded(held.fence)).await);
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    held.fence.task.session
}

#[tokio::test]
async fn so_many_sessions_run_and_the_others_wait_in_order() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(&limited(2, OnFull::Queue), 4).await;
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    for (session, state) in sessions.iter().zip([T::Ready, T::Ready, T::Pending, T::Pending]) {
        assert_eq!(stage.state(*session).await, S::Queued);
        assert_eq!(stage.states(*session).await, [state]);
    }
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    assert_eq!(held.len(), 2, "nothing of those that wait is ready");
    player.finish(&[succeeded(held[1].fence)]).await;
    stage.settle().await;
    assert_eq!(stage.states(sessions[2]).await, [T::Ready], "whoever ended let it go");
    player.finish(&[succeeded(held[0].fence)]).await;
    stage.settle().await;
    assert_eq!(works(&stage, &player).await, sessions[2]);
    assert_eq!(works(&stage, &player).await, sessions[3]);
    assert_eq!(tickets(&stage).await, 0);
    for session in sessions {
        assert_eq!(stage.state(session).await, S::Completed);
    }
}

#[tokio::test]
async fn sessions_with_other_keys_do_not_wait_for_each_other() {
    let stage = Stage::new().await;
    let version =
        workflows::version_of(&stage.store, TenantId::DEFAULT, &limited(1, OnFull::Queue))
            .await
            .unwrap();
    let mut new = vec![NewSession::new(version); 3];
    new[1].inputs.insert("repo".to_owned(), json!("api"));
    let sessions = sessions::create_many(&stage.store, &new).await.unwrap();
    stage.settle().await;
    let found = stage.player("player").await.claim(10).await;
    let found: Vec<SessionKey> = found.iter().map(|held| held.fence.task.session).collect();
    assert_eq!(found.len(), 2);
    assert!(!found.contains(&sessions[2]));
}

#[tokio::test]
async fn a_session_leaves_its_place_whatever_way_it_ends() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(&limited(1, OnFull::Queue), 6).await;
    let by = steer::By::default;
    stage.settle().await;
    let next = async |number: usize| {
        stage.settle().await;
        truth::check(stage.db.pool()).await;
        assert_eq!(line(&stage, "repo-web").await.holds, [(sessions[number], 0)]);
    };
    next(0).await;
    sessions::cancel(&stage.store, sessions[1], None, None).await.unwrap();
    assert_eq!(stage.state(sessions[1]).await, S::Cancelled, "it had none yet");
    sessions::cancel(&stage.store, sessions[0], None, None).await.unwrap();
    assert_eq!(line(&stage, "repo-web").await.holds, [(sessions[2], 0)], "at once");
    next(2).await;
    steer::stop(&stage.store, sessions[3], by()).await.unwrap();
    assert_eq!(stage.state(sessions[3]).await, S::Stopped, "nothing of it had begun");
    steer::stop(&stage.store, sessions[2], by()).await.unwrap();
    next(4).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    player.finish(&[failed(held.fence)]).await;
    next(5).await;
    assert_eq!(works(&stage, &player).await, sessions[5]);
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn a_time_limit_frees_the_place() {
    let stage = Stage::new().await;
    let timed = limited(1, OnFull::Queue).replace("tasks:", "timeout: 1h, tasks:");
    let sessions = stage.submit_many(&timed, 2).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    player.note(&[(held.fence, 0)]).await;
    stage.db.advance(Duration::from_secs(3700)).await;
    stage.housekeep().await;
    assert_eq!(stage.state(sessions[0]).await, S::Timeout);
    assert_eq!(line(&stage, "repo-web").await.holds, [(sessions[1], 0)]);
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(stage.state(sessions[1]).await, S::Queued, "its time has not begun");
}

#[tokio::test]
async fn a_paused_session_keeps_its_place_or_its_turn() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(&limited(1, OnFull::Queue), 4).await;
    let by = steer::By::default;
    steer::pause(&stage.store, sessions[0], by()).await.unwrap();
    steer::pause(&stage.store, sessions[1], by()).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(line(&stage, "repo-web").await.holds, [(sessions[0], 0)], "it keeps it");
    steer::resume(&stage.store, sessions[0], by()).await.unwrap();
    stage.settle().await;
    let player = stage.player("player").await;
    assert_eq!(works(&stage, &player).await, sessions[0]);
    assert_eq!(line(&stage, "repo-web").await.holds, [(sessions[2], 0)], "it passes");
    steer::resume(&stage.store, sessions[1], by()).await.unwrap();
    assert_eq!(stage.state(sessions[1]).await, S::Queued);
    assert_eq!(works(&stage, &player).await, sessions[2]);
    assert_eq!(works(&stage, &player).await, sessions[1], "before the one behind it");
    assert_eq!(works(&stage, &player).await, sessions[3]);
}

#[tokio::test]
async fn a_session_that_does_not_wait_is_refused_with_the_holders() {
    let stage = Stage::new().await;
    let version =
        workflows::version_of(&stage.store, TenantId::DEFAULT, &limited(1, OnFull::Reject))
            .await
            .unwrap();
    let new = || NewSession::new(Arc::clone(&version));
    let first = sessions::create(&stage.store, new()).await.unwrap().key;
    let refused = sessions::create(&stage.store, new()).await;
    let Err(CreateError::Full(full)) = refused else { panic!("{refused:?}") };
    assert_eq!((full.name.as_str(), full.holders), ("repo-web", vec![first.id]));
    let count: i64 = sqlx::query_scalar("select count(*) from sessions")
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(count, 1, "nothing of it is stored");
    // One that is let go later asks then.
    let pending = NewSession { start: false, ..new() };
    let pending = sessions::create(&stage.store, pending).await.unwrap().key;
    let refused = steer::start(&stage.store, pending, steer::By::default()).await;
    assert!(matches!(refused, Err(SteerError::Full(_))), "{refused:?}");
    assert_eq!(stage.state(pending).await, S::Pending);
    // Where nobody waits for an answer it fails.
    let many = sessions::create_many(&stage.store, &[new()]).await.unwrap();
    assert_eq!(stage.state(many[0]).await, S::Failed);
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    let player = stage.player("player").await;
    assert_eq!(works(&stage, &player).await, first);
    steer::start(&stage.store, pending, steer::By::default()).await.unwrap();
    assert_eq!(works(&stage, &player).await, pending);
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn the_oldest_is_cancelled_where_the_workflow_says_so() {
    let stage = Stage::new().await;
    let workflow = limited(1, OnFull::CancelOldest);
    let first = stage.submit(&workflow).await;
    let second = stage.submit(&workflow).await;
    stage.settle().await;
    assert_eq!(stage.state(first).await, S::Cancelled);
    let player = stage.player("player").await;
    assert_eq!(works(&stage, &player).await, second);
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn a_retry_and_a_fork_need_a_place_again() {
    let stage = Stage::new().await;
    let workflow = "{ version: 1, name: two, concurrency: { limit: 1 }, tasks: {
        a: { uses: builtin/noop },
        g: { needs: [a], for_each: [1, 2], tasks: { b: { uses: builtin/noop } } } } }";
    let first = stage.submit(workflow).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    player.finish(&[succeeded(held.fence)]).await;
    stage.settle().await;
    let ends: Vec<_> = player.claim(2).await.iter().map(|held| failed(held.fence)).collect();
    player.finish(&ends).await;
    stage.settle().await;
    assert_eq!(stage.state(first).await, S::Failed);
    let second = stage.submit(workflow).await;
    sessions::retry(&stage.store, first, sessions::Wish::default(), None).await.unwrap();
    let new = jobshop_engine::store::fork::NewFork {
        origin: first,
        at: 1,
        task: "a".to_owned(),
        inputs: serde_json::Map::new(),
        checkpoint: None,
        title: None,
        reason: None,
        actor: None,
    };
    let forked = jobshop_engine::store::fork::fork(&stage.store, new).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(line(&stage, "two").await.holds, [(second, 0)]);
    assert_eq!(line(&stage, "two").await.waits, [(first, 0), (forked, 0)], "the older one first");
    for (session, tasks) in [(second, 3), (first, 2), (forked, 3)] {
        for _ in 0..tasks {
            assert_eq!(works(&stage, &player).await, session);
        }
        assert_eq!(stage.state(session).await, S::Completed);
    }
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn a_child_works_in_the_place_of_what_stands_above_it() {
    let stage = Stage::new().await;
    let child = "{ version: 1, name: inner, concurrency: { key: shared, limit: 1 },
                   tasks: { a: { uses: builtin/noop } } }";
    applying::apply(&stage.store, TenantId::DEFAULT, child, None).await.unwrap();
    let parent = "{ version: 1, name: outer, concurrency: { key: shared, limit: 1 },
                    tasks: { c: { uses: inner } } }";
    let first = stage.submit(parent).await;
    let second = stage.submit(parent).await;
    stage.settle().await;
    let player = stage.player("player").await;
    works(&stage, &player).await;
    assert_eq!(stage.state(first).await, S::Completed);
    works(&stage, &player).await;
    assert_eq!(stage.state(second).await, S::Completed);
    assert_eq!(tickets(&stage).await, 0);
}
