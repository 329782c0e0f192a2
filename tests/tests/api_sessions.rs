//! Sessions through the API: created, listed, found and steered, field by field.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use jobshop_tests::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

const CHAIN: &str = "
version: 1
name: chain
description: Two in a row.
priority: high
inputs:
  goal: { type: string, default: nothing }
tasks:
  first: { uses: builtin/noop }
  second: { needs: [first], title: The second, uses: builtin/noop }
outputs:
  goal: ${{ inputs.goal }}
";

const NESTED: &str = "
version: 1
name: nested
tasks:
  plain:
    tasks:
      inner: { uses: builtin/noop }
  build:
    needs: [plain]
    for_each: [a.b, c/d]
    as: component
    key: ${{ component }}
    tasks:
      make: { uses: builtin/noop }
      rounds:
        needs: [make]
        for_each: [1, 2]
        as: round
        tasks:
          go: { uses: builtin/noop }
";

/// The object with what differs from run to run replaced.
fn redacted(mut object: Value) -> Value {
    for field in ["id", "created_at", "started_at", "finished_at", "ready_at", "title"] {
        if object[field].is_string() {
            object[field] = json!(format!("[{field}]"));
        }
    }
    object
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_new_session_has_every_field_and_its_default_title() {
    let app = TestApp::new().await;
    let session = app.submit(CHAIN).await;
    let id = session["id"].as_str().unwrap().to_owned();
    assert_eq!(session["title"], format!("IND-{}", &id[id.len() - 8..]));
    assert_eq!(
        redacted(session.clone()),
        json!({
            "id": "[id]", "title": "[title]", "workflow": {"name": "chain", "version": 1},
            "type": "execution", "status": "queued", "status_reason": null, "priority": "high",
            "prompt": null, "description": "Two in a row.", "tags": [], "metadata": {},
            "inputs": {"goal": "nothing"}, "outputs": null, "error": null, "created_by": "admin",
            "created_at": "[created_at]", "started_at": null, "finished_at": null,
            "counts": {
                "total": 2, "pending": 1, "ready": 1, "assigned": 0, "in_progress": 0,
                "blocked": 0, "paused": 0, "completed": 0, "failed": 0, "cancelled": 0,
                "skipped": 0,
            },
            "parent_id": null, "schedule_id": null,
            "forked_from": null, "retry": 0, "health": 1.0,
        })
    );
    assert_eq!(app.get(&format!("/api/v1/sessions/{id}")).await.json, session);
    let at = session["created_at"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.contains('T'), "{at}");
}

#[tokio::test]
async fn a_submission_is_answered_with_what_is_read_afterwards() {
    let app = TestApp::new().await;
    for (definition, start) in [(CHAIN, true), (CHAIN, false), (NESTED, false)] {
        let body = json!({
            "definition": definition, "start": start, "title": "Mine", "tags": ["b", "a\"c"],
            "metadata": { "z": 1, "a": { "nul": "x\u{0}y" }, "n": 1.5 }, "priority": "low",
        });
        let posted = app.post("/api/v1/sessions", &body).await;
        assert_eq!(posted.status, 201, "{posted:?}");
        let path = format!("/api/v1/sessions/{}", posted.json["id"].as_str().unwrap());
        assert_eq!(posted.json, app.get(&path).await.json);
    }
}

#[tokio::test]
async fn a_session_runs_to_its_end_and_its_objects_say_so() {
    let mut app = TestApp::new().await;
    app.start();
    let body = json!({
        "definition": CHAIN, "inputs": {"goal": "all"}, "title": "Mine", "tags": ["a", "b\"c"],
        "metadata": {"ticket": 7}, "priority": "low", "description": "Other.",
    });
    let created = app.post("/api/v1/sessions", &body).await;
    let id = created.json["id"].as_str().unwrap().to_owned();
    assert_eq!(created.headers["location"], format!("/api/v1/sessions/{id}"));
    let session = app.until_status(&id, "completed").await;
    assert_eq!(session["outputs"], json!({"goal": "all"}));
    assert_eq!(session["title"], "Mine");
    assert_eq!(session["tags"], json!(["a", "b\"c"]));
    assert_eq!(session["metadata"], json!({"ticket": 7}));
    assert_eq!(session["priority"], "low");
    assert_eq!(session["description"], "Other.");
    assert_eq!(session["counts"]["completed"], 2);
    assert!(session["started_at"].is_string() && session["finished_at"].is_string());

    let tasks = app.get(&format!("/api/v1/sessions/{id}/tasks")).await.json;
    assert_eq!(tasks["next"], Value::Null);
    let second = redacted(tasks["items"][1].clone());
    assert_eq!(
        second,
        json!({
            "key": "second", "seq": 2, "kind": "uses", "title": "[title]", "status": "completed",
            "status_reason": null, "attempt": 1, "failures": 0, "crashes": 0, "max_attempts": 1,
            "requires": [], "priority": "low", "needs": ["first"], "agent": "worker-1",
            "outputs": {}, "error": null, "created_at": "[created_at]", "ready_at": "[ready_at]",
            "started_at": "[started_at]", "finished_at": "[finished_at]",
        })
    );
    let events = app.get(&format!("/api/v1/sessions/{id}/events")).await.json;
    for (index, event) in events["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!(event["seq"], index + 1);
        assert_eq!(names(event), ["seq", "at", "kind", "task", "attempt", "actor", "data"]);
    }
    let kinds: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"session.queued"));
    assert_eq!(kinds.last(), Some(&"session.completed"));
    let completed = events["items"].as_array().unwrap().iter();
    let completed: Vec<_> = completed
        .filter(|event| event["kind"] == "task.completed")
        .map(|event| (event["task"].clone(), event["attempt"].clone()))
        .collect();
    assert_eq!(completed, [(json!("first"), json!(1)), (json!("second"), json!(1))]);
    app.stop().await;
}

#[tokio::test]
async fn groups_and_items_are_listed_with_their_paths_and_found_by_them() {
    let mut app = TestApp::new().await;
    app.start();
    let session = app.submit(NESTED).await;
    let id = session["id"].as_str().unwrap().to_owned();
    let session = app.until_status(&id, "completed").await;
    assert_eq!(session["counts"]["total"], 7);
    assert_eq!(session["counts"]["completed"], 7);
    let tasks = app.get(&format!("/api/v1/sessions/{id}/tasks?limit=1000")).await.json;
    let mut keys: Vec<&str> =
        tasks["items"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(&keys[..3], ["plain", "plain.inner", "build"]);
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "build",
            "build[a.b]",
            "build[a.b].make",
            "build[a.b].rounds",
            "build[a.b].rounds[0]",
            "build[a.b].rounds[0].go",
            "build[a.b].rounds[1]",
            "build[a.b].rounds[1].go",
            "build[c/d]",
            "build[c/d].make",
            "build[c/d].rounds",
            "build[c/d].rounds[0]",
            "build[c/d].rounds[0].go",
            "build[c/d].rounds[1]",
            "build[c/d].rounds[1].go",
            "plain",
            "plain.inner",
        ]
    );
    for task in tasks["items"].as_array().unwrap() {
        let key = task["key"].as_str().unwrap();
        let path = key.replace('/', "%2F").replace('[', "%5B").replace(']', "%5D");
        let found = app.get(&format!("/api/v1/sessions/{id}/tasks/{path}")).await;
        assert_eq!(&found.json, task, "{key}");
        let is_group = !["inner", "make", "go"].iter().any(|name| key.ends_with(name));
        assert_eq!(task["kind"] == "tasks", is_group, "{key}");
        assert_eq!(task["outputs"].is_null(), is_group, "{key}");
    }
    let rounds = app.get(&format!("/api/v1/sessions/{id}/tasks/build%5Ba.b%5D.rounds")).await.json;
    assert_eq!(rounds["needs"], json!(["build[a.b].make"]));
    for unknown in
        ["nope", "build%5Bx%5D", "build.make", "plain.inner.more", "build%5Ba.b%5D.", "99"]
    {
        app.get(&format!("/api/v1/sessions/{id}/tasks/{unknown}"))
            .await
            .problem(404, "task_not_found");
    }
    app.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_or_repetition() {
    let app = TestApp::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.submit(CHAIN).await["id"].clone());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = app.get(&format!("/api/v1/sessions{query}")).await.json;
        seen.extend(page["items"].as_array().unwrap().iter().map(|session| session["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, ids);
    let id = ids[0].as_str().unwrap();
    let first = app.get(&format!("/api/v1/sessions/{id}/tasks?limit=1")).await.json;
    let next = first["next"].as_str().unwrap();
    let second = app.get(&format!("/api/v1/sessions/{id}/tasks?limit=1&cursor={next}")).await.json;
    assert_eq!(
        (&first["items"][0]["key"], &second["items"][0]["key"]),
        (&json!("first"), &json!("second"))
    );
    assert_eq!(second["next"], Value::Null);
}

#[tokio::test]
async fn lists_are_narrowed_by_status_workflow_and_tag() {
    let app = TestApp::new().await;
    app.submit(CHAIN).await;
    let other = CHAIN.replace("name: chain", "name: other");
    let body = json!({"definition": other, "tags": ["x"]});
    let id = app.post("/api/v1/sessions", &body).await.json["id"].clone();
    app.post(&format!("/api/v1/sessions/{}/cancel", id.as_str().unwrap()), &json!({})).await;
    let count = async |query: &str| {
        let page = app.get(&format!("/api/v1/sessions?{query}")).await.json;
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("status=cancelled").await, 1);
    assert_eq!(count("status=cancelled,queued").await, 2);
    assert_eq!(count("workflow=other").await, 1);
    assert_eq!(count("tag=x").await, 1);
    assert_eq!(count("tag=y").await, 0);
    let tasks = |query: &str| format!("/api/v1/sessions/@latest:chain/tasks?{query}");
    assert_eq!(app.get(&tasks("status=ready")).await.json["items"][0]["key"], "first");
    app.get("/api/v1/sessions?status=done").await.problem(400, "invalid_query");
    app.get("/api/v1/sessions?statsu=queued").await.problem(400, "invalid_query");
    app.get("/api/v1/sessions?limit=0").await.problem(400, "invalid_query");
    app.get("/api/v1/sessions?cursor=!").await.problem(400, "invalid_cursor");
}

#[tokio::test]
async fn a_session_is_found_by_the_end_of_its_id_and_as_the_latest() {
    let app = TestApp::new().await;
    let first = app.submit(CHAIN).await;
    let second = app.submit(&CHAIN.replace("name: chain", "name: other")).await;
    let id = first["id"].as_str().unwrap();
    let show = async |name: &str| app.get(&format!("/api/v1/sessions/{name}")).await;
    for length in [6, 8, 12, 17, 30] {
        let found = show(&id[id.len() - length..]).await;
        assert_eq!(found.json["id"], first["id"], "{length}: {}", found.text);
    }
    assert_eq!(show("@latest").await.json["id"], second["id"]);
    assert_eq!(show("@latest:chain").await.json["id"], first["id"]);
    show("@latest:none").await.problem(404, "session_not_found");
    show("00000000-0000-7000-8000-000000000000").await.problem(404, "session_not_found");
    show("abcdef012345").await.problem(404, "session_not_found");
    show("abc").await.problem(400, "invalid_id");
    show("not-an-id").await.problem(400, "invalid_id");
}

#[tokio::test]
async fn an_end_that_several_ids_have_is_a_conflict_that_names_them() {
    let app = TestApp::new().await;
    for _ in 0..2 {
        app.submit(CHAIN).await;
    }
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from sessions").fetch_all(app.db.pool()).await.unwrap();
    for id in ids {
        let text = id.simple().to_string();
        let same_end: uuid::Uuid = format!("{}abcdef", &text[..26]).parse().unwrap();
        for table in ["sessions set id", "session_progress set session_id"] {
            let column = table.rsplit(' ').next().unwrap();
            let update = format!("update {table} = $1 where {column} = $2");
            sqlx::query(sqlx::AssertSqlSafe(update))
                .bind(same_end)
                .bind(id)
                .execute(app.db.pool())
                .await
                .unwrap();
        }
    }
    let answer = app.get("/api/v1/sessions/abcdef").await;
    let detail = answer.problem(409, "ambiguous_id");
    assert_eq!(detail.matches("abcdef`").count(), 1, "{detail}");
    assert_eq!(detail.matches("abcdef,").count(), 1, "{detail}");
}

#[tokio::test]
async fn the_same_request_with_the_same_key_creates_one_session() {
    let app = TestApp::new().await;
    let send = async |key: &str, body: Value| {
        let request = app.request(Method::POST, "/api/v1/sessions");
        Answer::of(request.header("idempotency-key", key).json(&body)).await
    };
    let body = json!({"definition": CHAIN, "title": "Once"});
    let first = send("k1", body.clone()).await;
    let again = send("k1", body.clone()).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.json, again.json);
    send("k1", json!({"definition": CHAIN, "title": "Other"}))
        .await
        .problem(409, "idempotency_key_reused");
    assert_ne!(send("k2", body.clone()).await.json["id"], first.json["id"]);
    send("", body).await.problem(400, "invalid_idempotency_key");
}

#[tokio::test]
async fn sessions_that_cannot_be_are_refused_with_the_reason() {
    let app = TestApp::new().await;
    let create = async |body: Value| app.post("/api/v1/sessions", &body).await;
    create(json!({})).await.problem(400, "invalid_body");
    create(json!({"workflow": "a", "prompt": "b"})).await.problem(400, "invalid_body");
    create(json!({"workflow": "none"})).await.problem(404, "workflow_not_found");
    create(json!({"workflow": "none@3"})).await.problem(404, "version_not_found");
    create(json!({"workflow": "none@x"})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "repo": "."})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "titel": "x"})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "title": " "})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "title": "a\0b"})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "priority": "now"})).await.problem(400, "invalid_body");
    create(json!({"definition": CHAIN, "file_dir": "a"})).await.problem(400, "invalid_body");
    create(json!({"prompt": "x", "runtime": "other"})).await.problem(400, "invalid_body");
    create(json!({"prompt": "x", "command": []})).await.problem(400, "invalid_body");

    let answer = create(json!({"definition": CHAIN, "inputs": {"goal": 1, "gaol": "x"}})).await;
    answer.problem(422, "invalid_inputs");
    assert_eq!(answer.json["problems"].as_array().unwrap().len(), 2);

    let answer =
        create(json!({"definition": "version: 1\nname: x\ntasks:\n  a: { if: 1 }\n"})).await;
    answer.problem(422, "invalid_workflow");
    let flaw = &answer.json["problems"][0];
    assert_eq!(names(flaw), ["line", "column", "message", "hint"]);
    assert_eq!(flaw["line"], 4);

    let relative = "version: 1\nname: x\nworkspace: { repo: a/b }\ntasks: { a: { run: ls } }\n";
    let answer = create(json!({ "definition": relative })).await;
    answer.problem(422, "invalid_workflow");
    assert_eq!(answer.json["problems"][0]["column"], 20);

    let sessions = app.get("/api/v1/sessions").await.json;
    assert_eq!(sessions["items"], json!([]));
}

#[tokio::test]
async fn a_prompt_becomes_a_session_of_the_built_in_workflow() {
    let app = TestApp::new().await;
    let body = json!({"prompt": "Fix ${{ it }}", "repo": "/r", "command": ["agent"], "verify": "make check"});
    let session = app.post("/api/v1/sessions", &body).await.json;
    assert_eq!(session["workflow"], json!({"name": "builtin/prompt", "version": 1}));
    assert_eq!(session["prompt"], "Fix ${{ it }}");
    assert_eq!(session["inputs"], json!({"prompt": "Fix ${{ it }}", "repo": "/r"}));
    let id = session["id"].as_str().unwrap();
    let tasks = app.get(&format!("/api/v1/sessions/{id}/tasks")).await.json;
    assert_eq!(tasks["items"][0]["kind"], "agent");
    assert_eq!(tasks["items"].as_array().unwrap().len(), 1);
    let again = app.post("/api/v1/sessions", &body).await.json;
    assert_eq!(again["workflow"]["version"], 1);
}

#[tokio::test]
async fn a_cancelled_session_stays_cancelled() {
    let app = TestApp::new().await;
    let session = app.submit(CHAIN).await;
    let path = format!("/api/v1/sessions/{}/cancel", session["id"].as_str().unwrap());
    let cancelled = app.post(&path, &json!({"reason": "enough"})).await;
    assert_eq!(cancelled.json["status"], "cancelled");
    assert!(cancelled.json["finished_at"].is_string());
    let again = Answer::of(app.request(Method::POST, &path)).await;
    assert_eq!((again.status.as_u16(), &again.json["status"]), (200, &json!("cancelled")));
    let events = path.replace("cancel", "events");
    let last = app.get(&events).await.json["items"][1].clone();
    assert_eq!(
        (&last["kind"], &last["data"]["reason"]),
        (&json!("session.cancelled"), &json!("enough"))
    );
    app.post("/api/v1/sessions/abcdef0123/cancel", &json!({}))
        .await
        .problem(404, "session_not_found");
}

#[tokio::test]
async fn a_failed_session_is_retried_and_a_completed_one_is_not() {
    let mut app = TestApp::new().await;
    app.start();
    let failing = "version: 1\nname: f\ntasks:\n  a: { uses: builtin/fail, with: { message: no } }\n  b: { needs: [a], uses: builtin/noop }\n";
    let id = app.submit(failing).await["id"].as_str().unwrap().to_owned();
    let failed = app.until_status(&id, "failed").await;
    assert_eq!(failed["status_reason"], "task_failed");
    assert_eq!(failed["error"], json!({"class": "error", "message": "`a` failed: no"}));
    assert_eq!((&failed["counts"]["failed"], &failed["counts"]["skipped"]), (&json!(1), &json!(1)));
    let task = app.get(&format!("/api/v1/sessions/{id}/tasks/a")).await.json;
    assert_eq!(task["error"], json!({"class": "error", "message": "no"}));
    assert_eq!((&task["outputs"], &task["failures"]), (&Value::Null, &json!(1)));
    let task = app.get(&format!("/api/v1/sessions/{id}/tasks/b")).await.json;
    assert_eq!(
        (&task["status"], &task["status_reason"]),
        (&json!("skipped"), &json!("upstream_failed"))
    );

    let retry = format!("/api/v1/sessions/{id}/retry");
    let retried = app.post(&retry, &json!({})).await;
    assert_eq!((retried.status.as_u16(), &retried.json["retry"]), (200, &json!(1)));
    app.until_status(&id, "failed").await;
    assert_eq!(app.get(&format!("/api/v1/sessions/{id}/tasks/a")).await.json["attempt"], 2);
    app.post(&retry, &json!({"from": "a"})).await.problem(400, "invalid_body");

    let id = app.submit(CHAIN).await["id"].as_str().unwrap().to_owned();
    app.until_status(&id, "completed").await;
    for verb in ["retry", "cancel"] {
        app.post(&format!("/api/v1/sessions/{id}/{verb}"), &json!({}))
            .await
            .problem(409, "illegal_move");
    }
    app.stop().await;
}

#[tokio::test]
async fn the_counts_of_a_large_session_add_up() {
    let app = TestApp::new().await;
    let id = app.submit(CHAIN).await["id"].as_str().unwrap().to_owned();
    sqlx::query("update session_progress set total = 20000, completed = 5")
        .execute(app.db.pool())
        .await
        .unwrap();
    let counts = app.get(&format!("/api/v1/sessions/{id}")).await.json["counts"].clone();
    assert_eq!((&counts["ready"], &counts["completed"]), (&json!(1), &json!(5)));
    assert_eq!(counts["pending"], 20_000 - 6);
}
