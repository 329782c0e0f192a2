//! Rules that answer for people, and how people are asked where a rule says so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stand::{Stand, answer};

impl Stand {
    async fn rule(&self, body: Value) -> String {
        let added = self.app.post("/api/v1/policies", &body).await;
        assert_eq!(added.status, 201, "{}", added.text);
        added.json["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_first_rule_that_fits_answers_and_the_event_names_it() {
    let stand = Stand::new(|_| {}).await;
    let deny = stand.rule(json!({ "tool": "bash", "command": "rm *", "action": "deny" })).await;
    let allow = stand.rule(json!({ "tool": "bash", "action": "allow" })).await;
    let first = json!({ "host": "*.example.org", "action": "deny", "position": 1 });
    stand.rule(first).await;
    let listed = stand.app.get("/api/v1/policies").await.json;
    assert_eq!(
        (&listed["items"][1]["id"], &listed["items"][0]["position"]),
        (&json!(deny), &json!(1))
    );
    let anna = stand.app.key("anna", "operator", "default").await;
    anna.post("/api/v1/policies", &json!({ "action": "allow" })).await.problem(403, "forbidden");
    let wrong = json!({ "tool": "question", "action": "allow" });
    stand.app.post("/api/v1/policies", &wrong).await.problem(400, "invalid_policy");
    let test = json!({ "tool": "bash", "what": "cd x && rm -rf y" });
    let tested = anna.post("/api/v1/policies/test", &test).await.json;
    assert_eq!(tested, json!({ "action": "deny", "rule": deny }));

    let script = "steps:\n\
        - ask: { tool: bash, what: make, as: make }\n\
        - ask: { tool: bash, what: rm -rf x, as: rm }\n\
        - outputs: { make: '{{ found.make.allowed }}', rm: '{{ found.rm.allowed }}' }\n";
    let session = stand.submit(&[("work", script)]).await;
    stand.app.until_status(&session, "completed").await;
    let outputs = stand.task(&session, "work").await["outputs"].clone();
    assert_eq!((&outputs["make"], &outputs["rm"]), (&json!("True"), &json!("False")));
    let decided = stand.events(&session, "policy.decided").await;
    let data: Vec<(&Value, &Value)> =
        decided.iter().map(|it| (&it["data"]["decision"], &it["data"]["rule"])).collect();
    assert_eq!(data, [(&json!("allow"), &json!(allow)), (&json!("deny"), &json!(deny))]);
    stand.open(0).await;

    let path = format!("/api/v1/policies/{allow}");
    let removed = stand.app.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    assert_eq!(removed.status(), 200);
    let listed = stand.app.get("/api/v1/policies?removed=true").await.json;
    assert_eq!(listed["items"][2]["removed_by"], "admin", "{listed}");
    stand.app.stop().await;
}

#[tokio::test]
async fn a_rule_that_asks_says_whom_how_many_and_what_happens_in_the_end() {
    let stand = Stand::new(|_| {}).await;
    let quorum = json!({
        "tool": "bash", "action": "ask", "from": ["operator"], "quorum": 2, "timeout": "1h",
        "on_timeout": "escalate",
    });
    let rule = stand.rule(quorum).await;
    let script = "steps:\n\
        - ask: { tool: bash, what: deploy, as: first }\n\
        - ask: { tool: bash, what: drop, as: second }\n\
        - outputs: { first: '{{ found.first.allowed }}', second: '{{ found.second.allowed }}' }\n";
    let session = stand.submit(&[("work", script)]).await;
    let anna = stand.app.key("anna", "operator", "default").await;
    let bert = stand.app.key("bert", "operator", "default").await;
    let allow = json!({ "decision": "allow" });
    let first = stand.asked("bash: deploy").await;
    for _ in 0..2 {
        let open = anna.post(&answer(&first), &allow).await.json;
        assert_eq!((&open["status"], &open["rule"]), (&json!("open"), &json!(rule)), "{open}");
    }
    assert_eq!(bert.post(&answer(&first), &allow).await.json["status"], "answered");

    let second = stand.asked("bash: drop").await;
    stand.app.db.advance(Duration::from_secs(3_601)).await;
    let escalated = jobshop_tests::wait::until("the escalation", crate::stand::LIMIT, async || {
        let entry = stand.app.get(&format!("/api/v1/inbox/{second}")).await.json;
        (!entry["escalated_at"].is_null()).then_some(entry)
    })
    .await;
    assert_eq!(escalated["status"], "open");
    stand.app.db.advance(Duration::from_secs(3_601)).await;
    stand.app.until_status(&session, "completed").await;
    let outputs = stand.task(&session, "work").await["outputs"].clone();
    assert_eq!((&outputs["first"], &outputs["second"]), (&json!("True"), &json!("False")));
    let entry = stand.app.get(&format!("/api/v1/inbox/{second}")).await.json;
    assert_eq!((&entry["status"], &entry["answer"]["by"]), (&json!("expired"), &json!("timeout")));
    let told = stand.told(&session, "question.e").await;
    assert_eq!(told, ["question.escalated -", "question.expired -"]);
    stand.app.stop().await;
}

#[tokio::test]
async fn what_people_answer_alike_is_suggested_as_a_rule_and_no_more_once_it_is_one() {
    let stand = Stand::new(|_| {}).await;
    let asks: String =
        ["test", "build", "test -q", "clippy", "doc"].iter().fold("steps:\n".into(), |all, it| {
            all + &format!("  - ask: {{ tool: bash, what: cargo {it} }}\n")
        });
    let session = stand.submit(&[("work", &asks)]).await;
    for what in ["test", "build", "test -q", "clippy", "doc"] {
        let id = stand.asked(&format!("bash: cargo {what}")).await;
        stand.app.post(&answer(&id), &json!({ "decision": "allow" })).await;
    }
    stand.app.until_status(&session, "completed").await;
    let found = stand.app.get("/api/v1/policies/suggestions").await.json;
    let items = found["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{found}");
    assert_eq!((&items[0]["action"], &items[0]["command"]), (&json!("allow"), &json!("cargo *")));
    assert_eq!((&items[0]["answers"], &items[0]["by"]), (&json!(5), &json!(["admin"])));
    stand.rule(json!({ "tool": "bash", "command": "cargo *", "action": "allow" })).await;
    let found = stand.app.get("/api/v1/policies/suggestions").await.json;
    assert_eq!(found["items"], json!([]));
    stand.app.stop().await;
}
