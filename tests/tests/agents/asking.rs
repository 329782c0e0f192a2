//! Real agents that ask people: what is answered reaches the one that waits, or the one that goes on.

use std::time::Duration;

use jobshop_engine::{question::Answer, session::SessionState, task::TaskState};
use jobshop_tests::{model_server::Step, wait};
use serde_json::{Value, json};

use crate::stand::{LIMIT, Stand, task};

const HOLD: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_once_and_the_agent_that_goes_on_has_their_answer() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.workers_with(2, |config| config.question_hold = HOLD);
    let ask = Step::Bash("echo asked >> new.txt".into());
    // The call is cut off when the attempt ends to wait; told the answer, the model makes it again.
    let steps = [ask, Step::Say("I have been told.".into())];
    let rules = r#", permissions: { bash: { "echo *": ask } }"#;
    let other = [Step::Bash("echo acp >> new.txt".into()), Step::Say("done".into())];
    let config = r#"    env: { OPENCODE_CONFIG_CONTENT: '{"permission": {"bash": "ask"}}' }"#;
    let rule = r", permissions: { bash: ask }";
    let tasks = task("served", &steps, rules)
        + &task("spoken", &other, rule).replace("opencode", "acp")
        + config
        + "\n";
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    stand.answer("bash: echo acp >> new.txt", Answer::Allow).await;
    wait::until("the task waits without a worker", LIMIT, async || {
        let rows = stand.fleet.rows(key).await;
        (rows[0].state == TaskState::Blocked).then_some(())
    })
    .await;
    stand.answer("bash: echo asked >> new.txt", Answer::Allow).await;
    let state = stand.end_of(key).await;
    let rows = stand.fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}\n{}", stand.log(key, 2).await);
    let show = |row: usize| {
        let commit = rows[row].output.as_ref().unwrap()["commit"].as_str().unwrap().to_owned();
        stand.git(&["show", &format!("{commit}:new.txt")])
    };
    assert_eq!((show(0).as_str(), show(1).as_str()), ("asked", "acp"));
    assert_eq!((rows[0].failures, rows[1].failures), (0, 0));
    let asked: i64 = sqlx::query_scalar("select count(*) from questions")
        .fetch_one(stand.fleet.db.pool())
        .await
        .unwrap();
    assert_eq!(asked, 2, "each was asked once");
    let shown = stand.model.requests().iter().any(|request| {
        let said = request["messages"].to_string();
        said.contains("People have answered") && said.contains("allowed")
    });
    assert!(shown, "the model was shown the answer");
    stand.fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_real_agent_is_answered_and_it_goes_on() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let which = json!({ "question": "Which colour?", "header": "Colour", "options": [
        { "label": "red", "description": "like blood" },
        { "label": "blue", "description": "like the sky" },
    ] });
    let ask = Step::Tool { name: "question".into(), input: json!({ "questions": [which] }) };
    let steps = [ask, Step::Bash("echo done > new.txt".into()), Step::Say("I know.".into())];
    // Should nobody be asked, the model hears that there is no such tool, and the turn ends.
    let tasks = task("asks", &steps, ", permissions: { question: ask }") + "    timeout: 4m\n";
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    let answering = stand.answer("Which colour?", Answer::Say(vec!["blue".to_owned()]));
    tokio::select! {
        _ = answering => {}
        state = stand.end_of(key) => panic!("{state:?}\n{:?}", stand.transcript(key).await),
    }
    let state = stand.end_of(key).await;
    let rows = stand.fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}\n{}", stand.log(key, 2).await);
    assert_eq!(rows[0].output.as_ref().unwrap()["summary"], "I know.");
    let shown = stand.model.requests().pop().unwrap()["messages"].to_string();
    assert!(shown.contains("blue"), "{shown}");
    stand.fleet.stop().await;
}
