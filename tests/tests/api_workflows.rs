//! Registered workflows through the API: applied, listed, and started by name.

use jobshop_tests::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

fn definition(name: &str, message: &str) -> Value {
    let text = format!(
        "version: 1\nname: {name}\ndescription: {message}\ntasks:\n  a: {{ uses: builtin/noop }}\n"
    );
    json!({ "definition": text })
}

#[tokio::test]
async fn a_name_stands_for_what_was_applied_last_and_every_content_has_its_number() {
    let app = TestApp::new().await;
    let apply =
        async |message: &str| app.post("/api/v1/workflows", &definition("ship", message)).await;
    let first = apply("one").await;
    assert_eq!((first.status.as_u16(), &first.json["version"]), (201, &json!(1)));
    assert_eq!(first.json["applied"], true);
    assert_eq!(first.json["hash"].as_str().unwrap().len(), 64);
    let again = apply("one").await;
    assert_eq!((again.status.as_u16(), &again.json), (200, &first.json));
    assert_eq!(apply("two").await.json["version"], 2);
    let back = apply("one").await;
    assert_eq!((back.status.as_u16(), &back.json["version"]), (201, &json!(1)));

    let shown = app.get("/api/v1/workflows/ship").await.json;
    assert_eq!(
        (&shown["version"], &shown["definition"]),
        (&json!(1), &definition("ship", "one")["definition"])
    );
    let list = app.get("/api/v1/workflows").await.json;
    assert_eq!(list["items"][0]["name"], "ship");
    assert_eq!(
        (&list["items"][0]["version"], &list["items"][0]["description"]),
        (&json!(1), &json!("one"))
    );
    let versions = app.get("/api/v1/workflows/ship/versions").await.json;
    let numbers: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["version"], &it["applied"]))
        .collect();
    assert_eq!(numbers, [(&json!(2), &json!(false)), (&json!(1), &json!(true))]);
    let second = app.get("/api/v1/workflows/ship/versions/2").await.json;
    assert_eq!(second["definition"], definition("ship", "two")["definition"]);

    let start = async |name: &str| {
        app.post("/api/v1/sessions", &json!({ "workflow": name })).await.json["workflow"].clone()
    };
    assert_eq!(start("ship").await, json!({"name": "ship", "version": 1}));
    assert_eq!(start("ship@2").await, json!({"name": "ship", "version": 2}));
}

#[tokio::test]
async fn of_two_who_change_the_same_version_the_second_is_refused() {
    let app = TestApp::new().await;
    let apply = async |message: &str, header: &'static str, tag: &str| {
        let request = app.request(Method::POST, "/api/v1/workflows").header(header, tag);
        Answer::of(request.json(&definition("ship", message))).await
    };
    assert_eq!(apply("one", "if-none-match", "*").await.status, 201);
    apply("two", "if-none-match", "*").await.problem(412, "version_changed");
    let tag = app.get("/api/v1/workflows/ship").await.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, "\"1\"");
    let second = apply("two", "if-match", &tag).await;
    assert_eq!((second.status.as_u16(), &second.json["version"]), (201, &json!(2)));
    apply("three", "if-match", &tag).await.problem(412, "version_changed");
    assert_eq!(apply("two", "if-match", "\"2\"").await.status, 200);
    apply("three", "if-match", "*").await.problem(400, "invalid_tag");
    assert_eq!(app.get("/api/v1/workflows/ship").await.json["version"], 2);
}

#[tokio::test]
async fn lists_of_workflows_come_in_pages_and_hold_what_was_applied_only() {
    let app = TestApp::new().await;
    for name in ["c", "a", "b"] {
        app.post("/api/v1/workflows", &definition(name, "x")).await;
    }
    app.post("/api/v1/sessions", &definition("submitted", "x")).await;
    let first = app.get("/api/v1/workflows?limit=2").await.json;
    let next = first["next"].as_str().unwrap();
    let second = app.get(&format!("/api/v1/workflows?limit=2&cursor={next}")).await.json;
    let names = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!((names(&first), names(&second)), (vec!["a".into(), "b".into()], vec!["c".into()]));
    assert_eq!(second["next"], Value::Null);
    for version in 2..=4 {
        app.post("/api/v1/workflows", &definition("a", &format!("v{version}"))).await;
    }
    let first = app.get("/api/v1/workflows/a/versions?limit=3").await.json;
    let next = first["next"].as_str().unwrap();
    let second = app.get(&format!("/api/v1/workflows/a/versions?limit=3&cursor={next}")).await.json;
    assert_eq!(
        (&first["items"][2]["version"], &second["items"][0]["version"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn what_is_not_there_or_not_valid_is_refused() {
    let app = TestApp::new().await;
    app.get("/api/v1/workflows/none").await.problem(404, "workflow_not_found");
    app.get("/api/v1/workflows/none/versions").await.problem(404, "workflow_not_found");
    app.get("/api/v1/workflows/none/versions/3").await.problem(404, "version_not_found");
    app.post("/api/v1/workflows", &json!({})).await.problem(400, "invalid_body");
    let body = json!({"definition": "version: 1\nname: Bad Name\ntasks: {}\nextra: 1\n"});
    let refused = app.post("/api/v1/workflows", &body).await;
    refused.problem(422, "invalid_workflow");
    let problems = refused.json["problems"].as_array().unwrap();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(
        problems
            .iter()
            .all(|it| it["line"].is_u64() && it["column"].is_u64() && it["message"].is_string())
    );
}
