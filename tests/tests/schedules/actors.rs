//! Who did what to a schedule, and requests that are sent twice.

use jobshop_tests::Answer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{api::app, settle};

const PATH: &str = "/api/v1/schedules/ship/nightly";

#[tokio::test]
async fn whoever_acts_on_a_schedule_is_seen_on_it_and_on_what_it_starts() {
    let app = app().await;
    let (ann, bob) =
        (app.key("ann", "operator", "default").await, app.key("bob", "operator", "default").await);
    let act = |act: &str| format!("{PATH}/{act}");
    let paused = ann.post(&act("pause"), &json!({})).await.json;
    assert_eq!((&paused["created_by"], &paused["updated_by"]), (&Value::Null, &json!("ann")));
    // Pausing what is paused changes nothing.
    assert_eq!(bob.post(&act("pause"), &json!({})).await.json["updated_by"], "ann");
    let resumed = bob.post(&act("resume"), &json!({})).await.json;
    assert_eq!((&resumed["status"], &resumed["updated_by"]), (&json!("active"), &json!("bob")));
    let session = ann.post(&act("trigger"), &json!({})).await.json;
    assert_eq!(session["created_by"], "ann");
    let span = json!({"from": "2026-03-25T00:00:00Z", "to": "2026-03-26T12:00:00Z"});
    assert_eq!(bob.post(&act("backfill"), &span).await.json["items"][1]["status"], "queued");
    let id = session["id"].as_str().unwrap();
    ann.post(&format!("/api/v1/sessions/{id}/cancel"), &json!({})).await;
    settle(&app.store).await;
    let fires = app.get(&act("fires")).await.json;
    let told: Vec<_> = fires["items"].as_array().unwrap().iter().collect();
    let told =
        told.iter().map(|it| format!("{} {} {}", it["kind"], it["status"], it["created_by"]));
    let told: Vec<_> = told.map(|it| it.replace('"', "")).collect();
    assert_eq!(told, ["trigger started ann", "backfill queued bob", "backfill started bob"]);
    let made_up = fires["items"][2]["session_id"].as_str().unwrap();
    assert_eq!(app.get(&format!("/api/v1/sessions/{made_up}")).await.json["created_by"], "bob");
    // By the clock it is the schedule's own.
    let by_hand = json!({"id": "ship/hourly", "cron": "0 * * * *", "with": {"goal": "x"}});
    let made = app.post("/api/v1/schedules", &by_hand).await.json;
    assert_eq!((&made["created_by"], &made["updated_by"]), (&json!("admin"), &json!("admin")));
    app.db.advance(super::HOUR).await;
    settle(&app.store).await;
    let fire = &app.get("/api/v1/schedules/ship/hourly/fires").await.json["items"][0];
    assert_eq!((&fire["kind"], &fire["created_by"]), (&json!("schedule"), &Value::Null));
    let session = fire["session_id"].as_str().unwrap();
    let session = app.get(&format!("/api/v1/sessions/{session}")).await.json;
    assert_eq!(session["created_by"], "schedule:ship/hourly");
}

#[tokio::test]
async fn a_trigger_that_is_sent_again_starts_nothing_more() {
    let app = app().await;
    let trigger = async |key: &str, goal: &str| {
        let request = app.request(Method::POST, &format!("{PATH}/trigger"));
        let body = json!({"inputs": {"goal": goal}});
        Answer::of(request.header("idempotency-key", key).json(&body)).await
    };
    let all = futures::future::join_all((0..6).map(|_| trigger("k", "x"))).await;
    let mut codes: Vec<u16> = all.iter().map(|answer| answer.status.as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 200, 200, 200, 200, 201]);
    assert!(all.iter().all(|answer| answer.json["id"] == all[0].json["id"]));
    trigger("k", "y").await.problem(409, "idempotency_key_reused");
    assert_eq!(app.get(PATH).await.json["open"], 1);
    assert_eq!(app.get(&format!("{PATH}/fires")).await.json["items"].as_array().unwrap().len(), 1);
    app.db.advance(super::MINUTE).await;
    assert_eq!(trigger("l", "x").await.status, 201);
    // It is answered even when the schedule takes no more.
    let without = super::api::DEFINITION.split("triggers").next();
    app.post("/api/v1/workflows", &json!({ "definition": without })).await;
    assert_eq!(trigger("k", "x").await.json["id"], all[0].json["id"]);
    trigger("m", "x").await.problem(409, "schedule_disabled");
}
