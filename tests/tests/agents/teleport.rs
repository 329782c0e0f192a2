//! Conversations that outlive what they ran on: a worker or a server that is killed in the middle of
//! a turn, and people who go back to a checkpoint.

use jobshop_engine::{
    id::SessionKey,
    session::SessionState,
    store::{
        fork::{self, NewFork},
        messages,
        sessions::{self, Wish},
    },
};
use jobshop_tests::{model_server::Step, wait};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use crate::stand::{LIMIT, Stand, task};

/// Writes, appends, then waits for an answer that never comes; once it is taken up again, appends
/// once more and is done.
fn steps() -> Vec<Step> {
    vec![
        Step::Write { path: "log.txt".into(), content: "one\n".into() },
        Step::Bash("echo two >> log.txt; cat log.txt".into()),
        Step::Stall,
        Step::Bash("echo three >> log.txt; cat log.txt".into()),
        Step::Say("I am through.".into()),
    ]
}

impl Stand {
    async fn until_checkpoints(&self, key: SessionKey, count: i64) {
        wait::until("checkpoints of the running agent", LIMIT, async || {
            let found: i64 = sqlx::query_scalar(
                "select count(*) from checkpoints
                  where session_id = $1 and (spend->>'steps')::int >= $2",
            )
            .bind(key.id.0)
            .bind(count)
            .fetch_one(self.fleet.db.pool())
            .await
            .ok()?;
            (found > 0).then_some(())
        })
        .await;
    }

    /// The messages that the model was shown last, as text.
    fn shown(&self) -> String {
        self.model.requests().pop().unwrap()["messages"].to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_goes_on_with_the_conversation_of_one_that_was_killed() {
    let Some(mut stand) = Stand::new().await else { return };
    let user = stand.user().with("DATABASE_URL", stand.fleet.db.url()).with("JOBSHOP_LEASE", "3s");
    let mut first = user.start(&["worker", "--capability", "*"]);
    let definition = stand.workflow(&task("work", &steps(), ""));
    let key = stand.fleet.submit(&definition, Value::Null).await;
    stand.until_checkpoints(key, 2).await;
    stand.model.until_requests(3).await;
    first.send(Signal::SIGKILL);
    first.reap();
    stand.worker();
    assert_eq!(stand.end_of(key).await, SessionState::Completed, "{}", stand.log(key, 2).await);
    let row = stand.fleet.rows(key).await.remove(0);
    assert_eq!((row.attempt, row.failures), (2, 0));
    let outputs = row.output.unwrap();
    let commit = outputs["commit"].as_str().unwrap();
    // Each step took effect once, in the workspace as it had been.
    assert_eq!(stand.git(&["show", &format!("{commit}:log.txt")]), "one\ntwo\nthree");
    assert_eq!(outputs["base"], stand.git(&["rev-parse", "main"]));
    // The runtime that went on knows what was said and done before the kill.
    let shown = stand.shown();
    assert!(shown.contains("Wrote file successfully"), "{shown}");
    assert!(shown.contains("echo two >> log.txt"), "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
    // What was spent by both: two steps before, two after.
    assert_eq!(outputs["usage"]["steps"], 4, "{outputs}");
    let kinds = stand.fleet.events(key).await;
    assert!(kinds.iter().any(|(_, kind, task)| *kind == 39 && *task == Some(row.seq)), "{kinds:?}");
    stand.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_started_again_and_people_are_heard() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let definition = stand.workflow(&task("work", &steps(), ""));
    let key = stand.fleet.submit(&definition, Value::Null).await;
    stand.until_checkpoints(key, 2).await;
    stand.model.until_requests(3).await;
    let seq = stand.fleet.rows(key).await[0].seq;
    let work = jobshop_engine::id::TaskKey { session: key, seq };
    messages::say(&stand.fleet.store, work, "mind the gap", Some("ada")).await.unwrap();
    wait::until("the message is handed on", LIMIT, async || {
        let text = stand.log(key, 3).await;
        text.contains("mind the gap").then_some(())
    })
    .await;
    stand.kill("serve");
    assert_eq!(stand.end_of(key).await, SessionState::Completed, "{}", stand.log(key, 2).await);
    let row = stand.fleet.rows(key).await.remove(0);
    assert_eq!(row.attempt, 1);
    let outputs = row.output.unwrap();
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{commit}:log.txt")]), "one\ntwo\nthree");
    assert!(stand.shown().contains("mind the gap"), "{}", stand.shown());
    stand.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_go_back_to_a_checkpoint_in_the_session_and_beside_it() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps = [
        Step::Write { path: "a.txt".into(), content: "a\n".into() },
        Step::Write { path: "b.txt".into(), content: "b\n".into() },
        Step::Say("both".into()),
    ];
    let (key, state) = stand.run(&task("work", &steps, "")).await;
    assert_eq!(state, SessionState::Completed, "{}", stand.log(key, 2).await);
    let first: i32 = sqlx::query_scalar(
        "select number from checkpoints where session_id = $1 and (spend->>'steps')::int = 1",
    )
    .bind(key.id.0)
    .fetch_one(stand.fleet.db.pool())
    .await
    .unwrap();
    let seq = stand.fleet.rows(key).await[0].seq;
    let new = NewFork {
        origin: key,
        at: seq,
        task: "work".to_owned(),
        checkpoint: Some(first),
        inputs: Map::new(),
        title: None,
        reason: None,
        actor: None,
    };
    let forked = fork::fork(&stand.fleet.store, new).await.unwrap();
    assert_eq!(stand.end_of(forked).await, SessionState::Completed);
    let row = stand.fleet.rows(forked).await.remove(0);
    let outputs = row.output.unwrap();
    // The first step was not done again, and its cost counts.
    assert_eq!(outputs["usage"]["steps"], 3, "{outputs}");
    let commit = outputs["commit"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{commit}:b.txt")]), "b");
    assert!(stand.shown().contains("a.txt"));
    // A session that was completed stays so; one that failed can be taken back.
    let wish = Wish { checkpoint: Some(first), ..Wish::default() };
    assert!(sessions::retry(&stand.fleet.store, key, wish, None).await.is_err());
    let wish = Wish { checkpoint: Some(99), ..Wish::default() };
    let refused = sessions::retry(&stand.fleet.store, key, wish, None).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(json!(outputs["summary"]), "both");
    stand.fleet.stop().await;
}
