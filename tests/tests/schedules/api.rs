//! Schedules over HTTP.

use jobshop_tests::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::*;

pub(crate) const DEFINITION: &str = r#"
version: 1
name: ship
inputs: { goal: { required: true } }
tasks: { a: { uses: builtin/noop } }
triggers:
  schedule:
    - { id: nightly, cron: "30 2 * * *", timezone: Europe/Amsterdam, with: { goal: debt }, jitter: 5m }
"#;

pub(crate) async fn app() -> TestApp {
    let app = TestApp::new().await;
    app.db.freeze_clock(at("2026-03-27T12:00:00Z")).await;
    let applied = app.post("/api/v1/workflows", &json!({ "definition": DEFINITION })).await;
    assert_eq!(applied.status, 201, "{}", applied.text);
    app
}

#[tokio::test]
async fn a_workflow_brings_its_schedules() {
    let app = app().await;
    let list = app.get("/api/v1/schedules").await.json;
    let wanted = json!({
        "id": "ship/nightly", "workflow": "ship", "name": "nightly",
        "status": "active", "status_reason": null, "source": "workflow",
        "cron": "30 2 * * *", "timezone": "Europe/Amsterdam", "with": {"goal": "debt"},
        "overlap": "skip", "catch_up": "latest", "catch_up_window": "365d", "jitter": "5m",
        "pause_after": null, "max_runs": null, "start": null, "until": null,
        "next_fire": "2026-03-28T01:30:00Z", "last_fire": null,
        "runs": 0, "failures": 0, "open": 0, "queued": 0, "created_by": null,
        "updated_by": "admin", "created_at": "2026-03-27T12:00:00Z", "updated_at": "2026-03-27T12:00:00Z",
    });
    assert_eq!(list, json!({"items": [wanted], "next": null}));
    assert_eq!(app.get("/api/v1/schedules/ship/nightly").await.json, wanted);
    let next = app.get("/api/v1/schedules/ship/nightly/next?n=3").await.json;
    let item = |at: &str, local: &str| json!({ "at": at, "local": local });
    assert_eq!(
        next["items"],
        json!([
            item("2026-03-28T01:30:00Z", "2026-03-28T02:30:00+01:00"),
            item("2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00"),
            item("2026-03-30T00:30:00Z", "2026-03-30T02:30:00+02:00"),
        ])
    );
    let autumn = "/api/v1/schedules/ship/nightly/next?n=1&after=2026-10-25T00:30:00Z";
    assert_eq!(app.get(autumn).await.json["items"][0]["at"], "2026-10-26T01:30:00Z");
}

#[tokio::test]
async fn a_schedule_is_paused_resumed_triggered_and_made_up_for() {
    let app = app().await;
    let path = |rest: &str| format!("/api/v1/schedules/ship/nightly{rest}");
    let paused = app.post(&path("/pause"), &json!({"reason": "holidays"})).await.json;
    assert_eq!(
        (&paused["status"], &paused["status_reason"], &paused["next_fire"]),
        (&json!("paused"), &json!("holidays"), &Value::Null)
    );
    app.db.advance(2 * DAY).await;
    settle(&app.store).await;
    assert_eq!(app.get("/api/v1/sessions").await.json["items"], json!([]));
    let session = app.post(&path("/trigger"), &json!({"inputs": {"goal": "now"}})).await;
    assert_eq!(
        (session.status.as_u16(), &session.json["schedule_id"]),
        (201, &json!("ship/nightly"))
    );
    assert_eq!(session.json["inputs"], json!({"goal": "now"}));
    let resumed = app.post(&path("/resume"), &json!({})).await.json;
    assert_eq!(
        (&resumed["status"], &resumed["next_fire"]),
        (&json!("active"), &json!("2026-03-30T00:30:00Z"))
    );
    let span = json!({"from": "2026-03-26T00:00:00Z", "to": "2026-03-29T12:00:00Z"});
    let filled = app.post(&path("/backfill"), &span).await.json;
    let times: Vec<_> =
        filled["items"].as_array().unwrap().iter().map(|it| &it["fire_time"]).collect();
    assert_eq!(
        times,
        [
            "2026-03-26T01:30:00Z",
            "2026-03-27T01:30:00Z",
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z"
        ]
    );
    assert_eq!(filled["items"][0]["status"], "queued", "sessions of it may not overlap");
    assert_eq!(app.post(&path("/backfill"), &span).await.json["items"], json!([]));
    // One after the other, once the session that was triggered has ended.
    settle(&app.store).await;
    let open = async || app.get(&path("")).await.json["open"].clone();
    assert_eq!(open().await, 1);
    let id = session.json["id"].as_str().unwrap();
    app.post(&format!("/api/v1/sessions/{id}/cancel"), &json!({})).await;
    settle(&app.store).await;
    let fires = app.get(&path("/fires?limit=5")).await.json;
    let told: Vec<_> = fires["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["status"].as_str().unwrap()))
        .collect();
    let queued = "backfill queued";
    assert_eq!(told, ["trigger started", queued, queued, queued, "backfill started"]);
}

#[tokio::test]
async fn schedules_are_made_and_deleted_by_hand() {
    let app = app().await;
    let create = async |body: Value| app.post("/api/v1/schedules", &body).await;
    let body = json!({
        "id": "ship/hourly", "cron": "0 * * * *", "with": {"goal": "x"}, "overlap": "allow",
        "catch_up": "all", "catch_up_window": "6h", "max_runs": 3,
    });
    let made = create(body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!((&made.json["source"], &made.json["max_runs"]), (&json!("manual"), &json!(3)));
    create(body).await.problem(409, "schedule_exists");
    app.db.advance(5 * HOUR).await;
    settle(&app.store).await;
    let shown = app.get("/api/v1/schedules/ship/hourly").await.json;
    assert_eq!((&shown["runs"], &shown["status"]), (&json!(3), &json!("ended")));
    // Applying the workflow leaves it alone.
    app.post("/api/v1/workflows", &json!({ "definition": DEFINITION.replace("debt", "more") }))
        .await;
    assert_eq!(app.get("/api/v1/schedules/ship/hourly").await.json["status"], "ended");
    let delete = async |id: &str| {
        Answer::of(app.request(Method::DELETE, &format!("/api/v1/schedules/{id}"))).await
    };
    assert_eq!(delete("ship/hourly").await.status, 204);
    delete("ship/hourly").await.problem(404, "schedule_not_found");
    delete("ship/nightly").await.problem(409, "schedule_of_workflow");
    assert_eq!(app.get("/api/v1/sessions").await.json["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let app = app().await;
    let refused = async |change: Value, code: u16, name: &str| {
        let mut body = json!({"id": "ship/x", "cron": "0 * * * *", "with": {"goal": "x"}});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        app.post("/api/v1/schedules", &body).await.problem(code, name).to_owned()
    };
    let told = refused(json!({"cron": "0 25 * * *"}), 422, "invalid_schedule").await;
    assert!(told.contains("cron: the hour of the cron: `25`"), "{told}");
    let told = refused(json!({"timezone": "europe/amsterdam"}), 422, "invalid_schedule").await;
    assert!(told.contains("did you mean `Europe/Amsterdam`?"), "{told}");
    refused(json!({"jitter": "soon"}), 422, "invalid_schedule").await;
    refused(json!({"until": "2020-01-01T00:00:00Z"}), 422, "invalid_schedule").await;
    refused(json!({"id": "none/x"}), 404, "workflow_not_found").await;
    refused(json!({"id": "ship"}), 422, "invalid_schedule").await;
    refused(json!({"with": {}}), 422, "invalid_inputs").await;
    refused(json!({"colour": "red"}), 400, "invalid_body").await;
    app.get("/api/v1/schedules/ship/none").await.problem(404, "schedule_not_found");
    app.get("/api/v1/schedules/ship/nightly/next?n=0").await.problem(400, "invalid_query");
    let future = json!({"from": "2026-03-26T00:00:00Z", "to": "2027-03-26T00:00:00Z"});
    let path = "/api/v1/schedules/ship/nightly/backfill";
    app.post(path, &future).await.problem(422, "invalid_schedule");
    app.post("/api/v1/workflows", &json!({ "definition": DEFINITION.split("triggers").next() }))
        .await;
    app.post("/api/v1/schedules/ship/nightly/pause", &json!({}))
        .await
        .problem(409, "schedule_disabled");
}
