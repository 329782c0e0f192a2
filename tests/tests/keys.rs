//! Who may come in, as what, and that nobody sees anything of another tenant.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use jobshop_engine::id::TenantId;
use jobshop_tests::{Answer, Caller, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

async fn tenant(app: &TestApp, name: &str) {
    let made = app.post("/api/v1/tenants", &json!({ "name": name })).await;
    assert_eq!((made.status.as_u16(), &made.json["name"]), (201, &json!(name)), "{}", made.text);
}

const NOOP: &str = "version: 1\nname: secret-b\ntasks:\n  only: { uses: builtin/noop }\n  \
                    ask: { approval: { message: secret-b } }\n\
                    triggers: { schedule: [{ id: secret-b, cron: \"0 2 1 1 *\" }] }\n";

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let app = TestApp::new().await;
    let made = app.post("/api/v1/keys", &json!({ "name": "ci", "role": "operator" })).await.json;
    let secret = made["key"].as_str().unwrap();
    assert!(secret.starts_with("jsk_") && secret.len() == 68, "{secret}");
    assert_eq!((&made["tenant"], &made["created_by"]), (&json!("default"), &json!("admin")));
    let listed = app.get("/api/v1/keys").await;
    assert_eq!(listed.json["items"][0]["name"], "ci");
    assert!(!listed.text.contains(secret));
    let rows: String = sqlx::query_scalar("select string_agg(k::text, ' ') from keys k")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    assert!(!rows.contains(&secret[4..]), "{rows}");
}

#[tokio::test]
async fn a_viewer_reads_an_operator_steers_an_admin_registers_and_makes_keys() {
    let app = TestApp::new().await;
    let viewer = app.key("v", "viewer", "default").await;
    let operator = app.key("o", "operator", "default").await;
    let admin = app.key("a", "admin", "default").await;
    let session = json!({ "definition": NOOP });

    viewer.post("/api/v1/sessions", &session).await.problem(403, "forbidden");
    let made = operator.post("/api/v1/sessions", &session).await.json;
    assert_eq!(made["created_by"], "o");
    let path = format!("/api/v1/sessions/{}", made["id"].as_str().unwrap());
    assert_eq!(viewer.get(&path).await.status, 200);
    viewer.post(&format!("{path}/cancel"), &json!({})).await.problem(403, "forbidden");
    assert_eq!(admin.post(&format!("{path}/cancel"), &json!({})).await.json["status"], "cancelled");
    let events = viewer.get(&format!("{path}/events")).await.json;
    let actors: Vec<&Value> =
        events["items"].as_array().unwrap().iter().map(|event| &event["actor"]).collect();
    assert_eq!(actors, [&json!("o"), &json!("a")]);

    for (path, body) in [
        ("/api/v1/workflows", json!({ "definition": NOOP })),
        ("/api/v1/keys", json!({ "name": "x", "role": "viewer" })),
        ("/api/v1/tenants", json!({ "name": "x" })),
    ] {
        operator.post(path, &body).await.problem(403, "forbidden");
        assert_eq!(admin.post(path, &body).await.status, 201);
    }
    operator.get("/api/v1/keys").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_revoked_or_unknown_key_opens_nothing() {
    let app = TestApp::new().await;
    let ci = app.key("ci", "operator", "default").await;
    assert_eq!(ci.get("/api/v1/sessions").await.status, 200);
    let again = app.post("/api/v1/keys", &json!({ "name": "ci", "role": "viewer" })).await;
    again.problem(409, "key_exists");
    let revoked = app.post("/api/v1/keys/ci/revoke", &json!({})).await.json;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    ci.get("/api/v1/sessions").await.problem(401, "unauthorized");
    assert_eq!(app.post("/api/v1/keys/ci/revoke", &json!({})).await.json, revoked);
    app.post("/api/v1/keys/cd/revoke", &json!({})).await.problem(404, "key_not_found");
    // The name is free again, for another key.
    let next = app.key("ci", "viewer", "default").await;
    assert_eq!(next.get("/api/v1/sessions").await.status, 200);
    let unknown = Caller::new(&app, format!("jsk_{}", "0".repeat(64)));
    unknown.get("/api/v1/sessions").await.problem(401, "unauthorized");
    for name in ["admin", "operator", "", "a b", "timeout"] {
        let body = json!({ "name": name, "role": "viewer" });
        app.post("/api/v1/keys", &body).await.problem(400, "invalid_name");
    }
}

#[tokio::test]
async fn only_admins_of_the_installations_tenant_reach_other_tenants() {
    let app = TestApp::new().await;
    tenant(&app, "a").await;
    tenant(&app, "b").await;
    app.post("/api/v1/tenants", &json!({ "name": "b" })).await.problem(409, "tenant_exists");
    app.post("/api/v1/tenants", &json!({ "name": "B!" })).await.problem(400, "invalid_name");
    let body = json!({ "name": "x", "role": "viewer", "tenant": "nobody" });
    app.post("/api/v1/keys", &body).await.problem(404, "tenant_not_found");
    let a = app.key("boss", "admin", "a").await;
    for path in ["/api/v1/tenants", "/metrics", "/api/v1/keys?tenant=b", "/api/v1/keys?tenant=c"] {
        a.get(path).await.problem(403, "forbidden");
    }
    let body = json!({ "name": "x", "role": "viewer", "tenant": "b" });
    a.post("/api/v1/keys", &body).await.problem(403, "forbidden");
    let own =
        a.post("/api/v1/keys", &json!({ "name": "x", "role": "viewer", "tenant": "a" })).await;
    assert_eq!((own.status.as_u16(), &own.json["tenant"]), (201, &json!("a")));
}

/// What the description's parameters stand for in the tenant that is to stay unseen.
fn filled(path: &str, session: &str, approval: &str) -> String {
    let name = match path {
        path if path.contains("/keys/") => "secret-b-key",
        path if path.contains("/contexts/") => session,
        _ => "secret-b",
    };
    let is_asked = path.contains("/approvals/") || path.contains("/inbox/");
    let id = if is_asked { approval } else { session };
    path.replace("{id}", id)
        .replace("{workflow}", "secret-b")
        .replace("{scope}", "session")
        .replace("{agent}", "secret-b")
        .replace("{name}", name)
        .replace("{key}", "only")
        .replace("{version}", "1")
        .replace("{sha256}", CONTENT_SHA256)
}

/// What a task of the other tenant left.
const CONTENT: &[u8] = b"secret-b";
const CONTENT_SHA256: &str = "ff492ef788c89b555e6f738b33d2422f57dbb6656af2402155672c5f123a90af";

async fn leave_an_artifact(app: &TestApp, session: &str) {
    let id: sqlx::types::Uuid = session.parse().unwrap();
    let tenant: sqlx::types::Uuid = sqlx::query_scalar(
        "insert into artifacts (tenant_id, session_id, seq, attempt, worker, path, bytes, sha256, at)
         select tenant_id, id, 1, 1, id, 'a', 8, decode($2, 'hex'), clock()
           from sessions
          where id = $1
         returning tenant_id",
    )
    .bind(id)
    .bind(CONTENT_SHA256)
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    let objects = app.store.objects.as_ref().unwrap();
    objects.put(TenantId(tenant), CONTENT.to_vec()).await.unwrap();
}

/// Bodies of requests that would be refused without one.
fn body_of(path: &str) -> Value {
    match path {
        "/api/v1/sessions" | "/api/v1/workflows" => {
            json!({ "definition": NOOP.replace("secret-b", "own") })
        }
        "/api/v1/schedules/{workflow}/{name}/backfill" => {
            json!({ "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z" })
        }
        "/api/v1/sessions/{id}/fork" => json!({ "at": "only" }),
        "/api/v1/contexts/{scope}/{name}/merge" => json!({ "from": "global:default" }),
        "/api/v1/contexts/{scope}/{name}/share" => json!({ "to": "global:default" }),
        "/api/v1/sessions/{id}/messages" => json!({ "text": "hello" }),
        "/api/v1/sessions/{id}/budget/raise" => json!({ "tokens": 9 }),
        "/api/v1/prices" => json!({ "items": [] }),
        "/api/v1/providers" => json!({ "model": "acme/large", "turns_per_minute": 9 }),
        "/api/v1/keys" => json!({ "name": "own", "role": "viewer" }),
        "/api/v1/tenants" | "/api/v1/sessions/{id}/signals" => json!({ "name": "own" }),
        _ => json!({}),
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk over every route")]
async fn a_key_sees_and_changes_nothing_of_another_tenant_on_any_route() {
    let app = TestApp::new().await;
    tenant(&app, "a").await;
    tenant(&app, "b").await;
    let a = app.key("secret-a-key", "admin", "a").await;
    let b = app.key("secret-b-key", "admin", "b").await;
    assert_eq!(b.post("/api/v1/workflows", &json!({ "definition": NOOP })).await.status, 201);
    let made = b.post("/api/v1/sessions", &json!({ "workflow": "secret-b" })).await.json;
    let session = made["id"].as_str().unwrap();
    // Nothing moves by itself here: the one step of the control loop that asks.
    while jobshop_engine::store::control::tick(&app.store).await.unwrap() > 0 {}
    let context = format!("/api/v1/contexts/session/{session}");
    let written = b.request(Method::PATCH, &context).json(&json!({ "set": { "a": "secret-b" } }));
    assert_eq!(Answer::of(written).await.status, 200);
    let inbox = b.get("/api/v1/approvals").await.json;
    let approval = inbox["items"][0]["id"].as_str().unwrap().to_owned();
    leave_an_artifact(&app, session).await;
    let everything = async || -> Vec<Value> {
        let query = "select to_jsonb(x) from sessions x where id = $1
              union all select to_jsonb(x) from session_progress x where session_id = $1
              union all select to_jsonb(x) from tasks x where session_id = $1
              union all select to_jsonb(x) from events x where session_id = $1
              union all select to_jsonb(x) from approvals x where session_id = $1
              union all select to_jsonb(x) from contexts x where name = $1::text
              union all select to_jsonb(x) from budgets x where session_id = $1
              union all select to_jsonb(x) from signals x where session_id = $1
              union all select to_jsonb(x) from schedules x where x.tenant_id = (
                            select tenant_id from tenants where name = 'b')
              union all select to_jsonb(x) from keys x where name like 'secret-b%'
              union all select to_jsonb(x) from workflows x where name = 'secret-b'";
        let id: sqlx::types::Uuid = session.parse().unwrap();
        sqlx::query_scalar(query).bind(id).fetch_all(app.db.pool()).await.unwrap()
    };
    let before = everything().await;

    let description = serde_json::to_value(jobshop_api::openapi()).unwrap();
    let open = ["/health", "/live", "/ready"];
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let ask = async |caller: &Caller<'_>| {
                let mut request = caller.request(method.clone(), &filled(path, session, &approval));
                if method != Method::GET {
                    request = request.json(&body_of(path));
                }
                if path.starts_with("/ws/") {
                    request = request
                        .header("connection", "upgrade")
                        .header("upgrade", "websocket")
                        .header("sec-websocket-version", "13")
                        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
                }
                Answer::of(request).await
            };
            let answer = ask(&a).await;
            asked += 1;
            if path.contains('{') {
                let status = answer.status.as_u16();
                assert!([403, 404].contains(&status), "{method} {path}: {}", answer.text);
                // Agents work for all tenants, and none is called so.
                let is_own = !path.starts_with("/ws/") && !path.starts_with("/api/v1/agents/");
                if method == Method::GET && is_own {
                    assert_eq!(ask(&b).await.status, 200, "{path} is there for its owner");
                }
            } else if !open.contains(&path.as_str()) {
                let seen = answer.text.contains("secret-b") || answer.text.contains(session);
                assert!(!seen, "{method} {path}: {}", answer.text);
            }
        }
    }
    assert!(asked > 20, "the description was walked");
    a.get(&format!("/api/v1/sessions/{}", &session[30..])).await.problem(404, "session_not_found");
    a.get("/api/v1/sessions/@latest:secret-b").await.problem(404, "session_not_found");
    assert_eq!(everything().await, before);
}
