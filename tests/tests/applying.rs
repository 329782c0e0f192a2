//! Definitions applied together: all of them or none, with what changes shown and who did it kept.

#![expect(clippy::unwrap_used, reason = "what is not as the test says is a failed test")]

use std::collections::BTreeMap;

use futures::future::join_all;
use jobshop_tests::{Answer, CommandLine, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

fn noop(name: &str, note: &str) -> String {
    format!(
        "version: 1\nname: {name}\ndescription: {note}\ntasks: {{ a: {{ uses: builtin/noop }} }}\n"
    )
}

async fn put(app: &TestApp, definitions: &[String], more: Value) -> Answer {
    let definitions: Vec<Value> = definitions
        .iter()
        .zip(1..)
        .map(|(text, n)| json!({ "file": format!("{n}.yaml"), "definition": text }))
        .collect();
    let mut body = json!({ "definitions": definitions });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Answer::of(app.request(Method::PUT, "/api/v1/workflows").json(&body)).await
}

/// Name, change, version before and version now.
fn told(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let changes = answer.json["changes"].as_array().unwrap();
    let told = changes.iter().map(|change| {
        format!(
            "{} {} {} {}",
            change["name"].as_str().unwrap(),
            change["change"].as_str().unwrap(),
            change["before"],
            change["version"]
        )
    });
    told.collect()
}

/// What every name stands for.
async fn standing(app: &TestApp) -> BTreeMap<String, i64> {
    let list = app.get("/api/v1/workflows").await.json;
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["version"].as_i64().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_folder_is_applied_with_a_diff_and_what_it_lacks_is_retired_until_it_comes_back() {
    let mut app = TestApp::new().await;
    app.start();
    let both = [noop("a", "one"), noop("b", "one")];
    let dry = put(&app, &both, json!({ "dry_run": true })).await;
    assert_eq!(told(&dry), ["a new null 1", "b new null 1"]);
    assert_eq!((standing(&app).await.len(), &dry.json["dry_run"]), (0, &json!(true)));
    app.get("/api/v1/workflows/a/versions").await.problem(404, "workflow_not_found");

    assert_eq!(told(&put(&app, &both, json!({})).await), ["a new null 1", "b new null 1"]);
    assert_eq!(told(&put(&app, &both, json!({})).await), ["a unchanged 1 1", "b unchanged 1 1"]);
    let kept = app.submit(&both[1]).await;

    let less = [noop("a", "two")];
    let pruned = put(&app, &less, json!({ "prune": true })).await;
    assert_eq!(told(&pruned), ["a changed 1 2", "b retired 1 null"]);
    let diff = pruned.json["changes"][0]["diff"].as_str().unwrap();
    assert!(diff.contains("--- a@1\n+++ a@2\n"), "{diff}");
    assert!(diff.contains("-description: one\n+description: two\n"), "{diff}");

    // Retired: nothing starts by the name alone, everything else goes on.
    let start = async |name: &str| app.post("/api/v1/sessions", &json!({ "workflow": name })).await;
    start("b").await.problem(404, "workflow_not_found");
    assert_eq!(start("b@1").await.status, 201);
    app.until_status(kept["id"].as_str().unwrap(), "completed").await;

    assert_eq!(told(&put(&app, &both[1..], json!({})).await), ["b revived null 1"]);
    assert_eq!(start("b").await.status, 201);
    let by: Vec<(Option<String>, Option<i32>)> =
        sqlx::query_as("select changed_by, applied from workflows order by name")
            .fetch_all(app.db.pool())
            .await
            .unwrap();
    let listed = app.get("/api/v1/workflows").await.json;
    assert_eq!(by.len(), 2);
    assert!(by.iter().all(|(by, _)| by.is_some()), "{by:?}");
    assert_eq!(listed["items"][0]["applied_by"], json!(by[0].0));
}

#[tokio::test]
async fn what_a_retired_workflow_was_started_by_is_gone_and_comes_back_with_it() {
    let app = TestApp::new().await;
    let nightly = "version: 1\nname: nightly\ntasks: { a: { uses: builtin/noop } }\n\
                   triggers: { schedule: [{ id: it, cron: \"0 2 * * *\" }] }\n";
    put(&app, &[nightly.to_owned()], json!({})).await;
    let due = async || {
        let read = sqlx::query_scalar::<_, bool>("select due_at is not null from schedules");
        read.fetch_one(app.db.pool()).await.unwrap()
    };
    assert!(due().await);
    put(&app, &[noop("a", "one")], json!({ "prune": true })).await;
    assert!(!due().await);
    put(&app, &[nightly.to_owned()], json!({})).await;
    assert!(due().await);
}

#[tokio::test]
async fn one_problem_anywhere_and_nothing_is_applied() {
    let app = TestApp::new().await;
    let wrong = "version: 1\nname: b\ntasks: { a: { rnu: ls } }\n".to_owned();
    for dry in [true, false] {
        let refused =
            put(&app, &[noop("a", "one"), wrong.clone()], json!({ "dry_run": dry })).await;
        refused.problem(422, "invalid_workflow");
        assert_eq!(refused.json["problems"][0]["file"], "2.yaml");
        assert_eq!(refused.json["problems"][0]["line"], 3);
        let twice =
            put(&app, &[noop("a", "one"), noop("a", "two")], json!({ "dry_run": dry })).await;
        twice.problem(422, "invalid_workflow");
        assert!(twice.text.contains("two of the files define the workflow `a`"), "{}", twice.text);
        let pinned = "version: 1\nname: top\ntasks: { sub: { uses: a@2 } }\n".to_owned();
        let refused = put(&app, &[noop("a", "one"), pinned], json!({ "dry_run": dry })).await;
        refused.problem(422, "invalid_workflow");
        let problem = &refused.json["problems"][0];
        assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(23)));
        let message = problem["message"].as_str().unwrap();
        assert_eq!(message, "`sub` uses `a@2`: there is no such version");
    }
    let versions: i64 = sqlx::query_scalar("select count(*) from workflow_versions")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    assert_eq!((standing(&app).await.len(), versions), (0, 0));
}

#[tokio::test]
async fn what_a_definition_uses_is_checked_as_far_as_it_is_known() {
    let app = TestApp::new().await;
    let child = |extra: &str| {
        format!(
            "version: 1\nname: child\ninputs: {{ goal: {{ required: true }}{extra} }}\ntasks: {{ a: {{ uses: builtin/noop }} }}\n"
        )
    };
    let top = |uses: &str, with: &str| {
        format!("version: 1\nname: top\ntasks: {{ sub: {{ uses: {uses}, with: {with} }} }}\n")
    };
    let warned = put(&app, &[top("child", "{ goal: x }")], json!({})).await;
    assert_eq!(told(&warned), ["top new null 1"]);
    let warning = &warned.json["changes"][0]["warnings"][0];
    assert_eq!(warning, "`sub` uses `child`: the name stands for nothing yet");

    // A pin may name a version that comes with the same set.
    let set = [child(""), top("child@1", "{ goal: x }")];
    for dry in [true, false] {
        let pinned = put(&app, &set, json!({ "dry_run": dry })).await;
        assert_eq!(told(&pinned), ["child new null 1", "top changed 1 2"]);
    }
    for (with, message) in [
        ("{}", "the input `goal` is required"),
        ("{ goal: 7 }", "the input `goal` must be string, not a number"),
        ("{ goal: x, more: 1 }", "there is no input `more`"),
    ] {
        let refused = put(&app, &[top("child@1", with)], json!({})).await;
        refused.problem(422, "invalid_workflow");
        assert!(refused.text.contains(message), "{}", refused.text);
    }
    // An unpinned name is settled when the task begins.
    let later = put(&app, &[top("child", "{}")], json!({ "dry_run": true })).await;
    assert_eq!(told(&later), ["top changed 2 3"]);
    let warning = &later.json["changes"][0]["warnings"][0];
    assert_eq!(warning, "`sub` uses `child`: the input `goal` is required");
    let retired = put(&app, &[top("child", "{ goal: x }")], json!({ "prune": true })).await;
    retired.problem(422, "invalid_workflow");
    assert!(retired.text.contains("it is retired with this"), "{}", retired.text);
    assert_eq!(standing(&app).await, BTreeMap::from([("child".into(), 1), ("top".into(), 2)]));
}

#[tokio::test]
async fn a_definition_that_is_only_executed_has_its_pins_checked_too() {
    let app = TestApp::new().await;
    let child = "version: 1\nname: child\ninputs: { goal: { required: true } }\n\
                 tasks: { a: { uses: builtin/noop } }\n";
    put(&app, &[child.to_owned()], json!({})).await;
    // The names stand elsewhere too: a problem is told where the task uses the version.
    let top = |first: &str, with: &str| {
        format!(
            "version: 1\nname: top\ndescription: uses {first} and child@1\ntasks:\n  \
             one: {{ uses: {first}, with: {{ goal: x }} }}\n  \
             two: {{ uses: child@1, with: {with} }}\n"
        )
    };
    let submit = async |definition: String| {
        app.post("/api/v1/sessions", &json!({ "definition": definition })).await
    };
    let refused = submit(top("child@2", "{}")).await;
    refused.problem(422, "invalid_workflow");
    let told: Vec<String> = refused.json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{}:{} {}", it["line"], it["column"], it["message"].as_str().unwrap()))
        .collect();
    let wanted = [
        "5:16 `one` uses `child@2`: there is no such version",
        "6:16 `two` uses `child@1`: the input `goal` is required",
    ];
    assert_eq!(told, wanted);
    let session = submit(top("child@1", "{ goal: y }")).await;
    assert_eq!(session.status, 201, "{}", session.text);
}

#[tokio::test]
async fn of_many_applies_at_once_each_sees_all_or_nothing_of_the_others() {
    let app = TestApp::new().await;
    let names = ["a", "b", "c", "d"];
    // Each set lacks one of the names and says the rest in its own way.
    let sets: Vec<Vec<String>> = (0..12)
        .map(|n| {
            let kept = names.iter().enumerate().filter(|(at, _)| *at != n % 4);
            let mut set: Vec<String> =
                kept.map(|(_, name)| noop(name, &format!("set {n}"))).collect();
            if n % 2 == 1 {
                set.reverse();
            }
            set
        })
        .collect();
    let answers = join_all(sets.iter().map(|set| put(&app, set, json!({ "prune": true })))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let list = app.get("/api/v1/workflows").await.json;
    let notes: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["description"].as_str().unwrap())
        .collect();
    assert_eq!(notes.len(), 3, "one set stands and nothing else: {notes:?}");
    assert!(notes.iter().all(|note| *note == notes[0]), "{notes:?}");
    // The last of them found what the one before it left: every step but the first changed or
    // retired what stood.
    let first = |answer: &&Answer| told(answer).iter().all(|line| line.contains(" new null "));
    assert_eq!(answers.iter().filter(first).count(), 1);
    // The same set from many sides is one change.
    let same = vec![noop("a", "same"), noop("b", "same")];
    let answers = join_all((0..8).map(|_| put(&app, &same, json!({})))).await;
    let is_change = |answer: &&Answer| told(answer).iter().all(|line| !line.contains("unchanged"));
    assert_eq!(answers.iter().filter(is_change).count(), 1);
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

#[tokio::test]
async fn a_person_applies_a_folder_and_compares_definitions() {
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"));
    let _up = user.up().await;
    std::fs::create_dir(user.path("flows")).unwrap();
    user.run(&["workflow", "apply", "flows"]).expect(2);
    user.write("flows/a.yaml", &noop("a", "one"));
    user.write("flows/b.yml", &noop("b", "one"));
    user.write("flows/README.md", "no workflow");
    let dry = user.run(&["workflow", "apply", "flows", "--dry-run"]).expect(0).stdout;
    assert_eq!(dry, "+ a@1 would be applied, new\n+ b@1 would be applied, new\n");
    user.run(&["workflow", "apply", "flows"]).expect(0);
    user.write("flows/a.yaml", &noop("a", "two"));
    std::fs::remove_file(user.path("flows/b.yml")).unwrap();
    let told = user.run(&["workflow", "apply", "flows", "--prune"]).expect(0).stdout;
    assert!(told.starts_with("~ a@2 is applied over a@1\n  --- a@1\n  +++ a@2\n"), "{told}");
    assert!(told.contains("\n  -description: one\n  +description: two\n"), "{told}");
    assert!(told.ends_with("\n- b@1 is retired\n"), "{told}");
    let again = user.run(&["workflow", "apply", "flows", "--json"]).expect(0).json();
    assert_eq!(again["changes"][0]["change"], "unchanged");
    let diff = user.run(&["workflow", "diff", "a@1", "flows/a.yaml"]).expect(0).stdout;
    assert!(diff.starts_with("--- a@1\n+++ flows/a.yaml\n"), "{diff}");
    let same = user.run(&["workflow", "diff", "a", "flows/a.yaml", "--json"]).expect(0).json();
    assert_eq!((&same["same"], &same["diff"]), (&json!(true), &json!("")));
    user.run(&["workflow", "diff", "a", "nothing"]).expect(4);
    user.write("flows/c.yaml", "version: 1\nname: c\ntasks: { a: { rnu: ls } }\n");
    let told = user.run(&["workflow", "apply", "flows"]).expect(2).stderr;
    assert!(told.contains("flows/c.yaml is no valid workflow; nothing is applied"), "{told}");
}
