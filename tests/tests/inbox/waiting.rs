//! From a question to its answer: held by the worker that waits, and without one.

use std::time::Duration;

use serde_json::json;

use crate::stand::{Stand, answer};

const ASKS: &str = "\
steps:
  - ask: { tool: bash, what: git push origin, as: push }
  - ask: { question: 'Which port?', options: ['80', '443'], as: port }
  - outputs: { push: '{{ found.push.allowed }}', port: '{{ found.port.text }}' }
";

#[tokio::test]
async fn a_question_waits_for_people_and_their_answer_reaches_the_agent() {
    let stand = Stand::new(|_| {}).await;
    let session = stand.submit(&[("work", ASKS)]).await;
    let push = stand.asked("bash: git push origin").await;
    let entry = stand.app.get(&format!("/api/v1/inbox/{}", &push[28..])).await.json;
    assert_eq!((&entry["kind"], &entry["task"]), (&json!("permission"), &json!("work")));
    assert_eq!((&entry["tool"], &entry["what"]), (&json!("bash"), &json!(["git push origin"])));
    assert_eq!(entry["status"], "open");
    assert_eq!(stand.task(&session, "work").await["status"], "in_progress");
    let why = stand.app.get(&format!("/api/v1/sessions/{session}/why")).await.json;
    assert_eq!(why["waits_for_people"], true, "{why}");
    assert_eq!(
        (&why["reasons"][0]["code"], &why["reasons"][0]["data"]["question"]),
        (&json!("question"), &json!(push))
    );

    let viewer = stand.app.key("carl", "viewer", "default").await;
    viewer.post(&answer(&push), &json!({ "decision": "allow" })).await.problem(403, "forbidden");
    let anna = stand.app.key("anna", "operator", "default").await;
    let wrong = json!({ "answers": ["yes"] });
    anna.post(&answer(&push), &wrong).await.problem(400, "unsuited_answer");
    let allowed = anna.post(&answer(&push), &json!({ "decision": "allow" })).await.json;
    assert_eq!(
        (&allowed["status"], &allowed["answer"]["by"]),
        (&json!("answered"), &json!("anna"))
    );
    anna.post(&answer(&push), &json!({ "decision": "deny" })).await.problem(409, "question_ended");

    let port = stand.asked("Which port?").await;
    let entry = stand.app.get(&format!("/api/v1/inbox/{port}")).await.json;
    assert_eq!(entry["questions"], json!([{ "text": "Which port?", "options": ["80", "443"] }]));
    anna.post(&answer(&port), &json!({ "answers": ["8080"] })).await;
    stand.app.until_status(&session, "completed").await;
    let task = stand.task(&session, "work").await;
    let outputs = &task["outputs"];
    assert_eq!((&outputs["push"], &outputs["port"]), (&json!("True"), &json!("8080")), "{outputs}");
    assert_eq!((&task["attempt"], &task["failures"]), (&json!(1), &json!(0)));
    let one = ["question.asked -", "question.answered anna", "question.told -"];
    assert_eq!(stand.told(&session, "question.").await, [one, one].concat());
    stand.open(0).await;
    let ended = stand.app.get("/api/v1/inbox?status=ended").await.json;
    assert_eq!(ended["items"].as_array().unwrap().len(), 2);
    stand.app.stop().await;
}

#[tokio::test]
async fn a_place_is_given_back_and_the_task_goes_on_once_it_is_answered() {
    let stand = Stand::new(|config| {
        config.concurrency = 1;
        config.question_hold = Duration::from_millis(1);
    })
    .await;
    let other = "steps:\n  - print: hello\n";
    let session = stand.submit(&[("asks", ASKS), ("other", other)]).await;
    let waiting = stand.until_task(&session, "asks", "blocked").await;
    assert_eq!(waiting["status_reason"], "question", "{waiting}");
    stand.until_task(&session, "other", "completed").await;
    let why = stand.app.get(&format!("/api/v1/sessions/{session}/why")).await.json;
    assert_eq!(
        (&why["waits_for_people"], &why["reasons"][0]["code"]),
        (&json!(true), &json!("question"))
    );
    let push = stand.asked("bash: git push origin").await;
    stand.app.post(&answer(&push), &json!({ "decision": "deny", "comment": "not yet" })).await;
    let port = stand.asked("Which port?").await;
    stand.until_task(&session, "asks", "blocked").await;
    stand.app.post(&answer(&port), &json!({ "answers": ["443"] })).await;
    stand.app.until_status(&session, "completed").await;
    let task = stand.task(&session, "asks").await;
    let outputs = &task["outputs"];
    assert_eq!((&outputs["push"], &outputs["port"]), (&json!("False"), &json!("443")));
    assert_eq!((&task["failures"], &task["crashes"]), (&json!(0), &json!(0)));
    let asked = stand.events(&session, "question.asked").await;
    assert_eq!(asked.len(), 2, "each was asked once: {asked:?}");
    stand.app.stop().await;
}

#[tokio::test]
async fn what_ends_a_task_closes_what_it_asked() {
    let stand = Stand::new(|_| {}).await;
    let session = stand.submit(&[("work", ASKS)]).await;
    let push = stand.asked("bash: git push origin").await;
    stand.app.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({})).await;
    stand.open(0).await;
    let late = json!({ "decision": "allow" });
    stand.app.post(&answer(&push), &late).await.problem(409, "question_ended");
    let entry = stand.app.get(&format!("/api/v1/inbox/{push}")).await.json;
    assert_eq!(entry["status"], "closed");
    stand.app.stop().await;
}
