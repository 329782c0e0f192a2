//! What tasks, agents and people share: written by many at once, merged, shown as it was, and gone
//! when its time is over.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::{collections::BTreeMap, time::Duration};

use jobshop_engine::{
    context::{ContextName, Path, Scope, Strategy, Write},
    duration::Span,
    id::TenantId,
    store::{
        Store, Views,
        contexts::{self, Asked, By, ContextError, Merge, Source, Written},
    },
};
use jobshop_tests::{Answer, CommandLine, Stage, TestApp};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const BY: By<'_> = By { actor: "ada", why: None };

fn name(scope: Scope, name: &str) -> ContextName {
    ContextName::new(scope, name).unwrap()
}

fn set(path: &str, value: Value) -> Write {
    Write { path: path.parse().unwrap(), value: Some(value) }
}

async fn write(store: &Store, name: &ContextName, asked: Asked) -> Result<Written, ContextError> {
    contexts::write(store, TenantId::DEFAULT, name, &asked, BY).await
}

fn views(stage: &Stage) -> Views {
    Views::new(&stage.store, TenantId::DEFAULT)
}

/// Every writer adds one to a counter it has read, and a key of its own; who was overtaken reads again.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_nothing_is_lost_and_every_version_can_be_had_again() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 15;
    let stage = Stage::new().await;
    let shared = name(Scope::Global, "default");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, shared, tenant) = (stage.another_store(), shared.clone(), TenantId::DEFAULT);
        writers.spawn(async move {
            let views = Views::new(&store, tenant);
            let mut overtaken = 0;
            for turn in 0..EACH {
                loop {
                    let read = views.context(&shared, None, &Path::default()).await;
                    let (version, data) = match read {
                        Ok(context) => (context.version, context.data.unwrap()),
                        Err(ContextError::NotFound(_)) => (0, json!({})),
                        Err(error) => panic!("{error}"),
                    };
                    let next = data["n"].as_i64().unwrap_or_default() + 1;
                    let own = format!("of.{writer}.{turn}");
                    let writes = vec![set("n", json!(next)), set(&own, json!(next))];
                    let asked = Asked { writes, expected: Some(version), ttl: None };
                    match contexts::write(&store, tenant, &shared, &asked, BY).await {
                        Ok(written) => {
                            assert_eq!(written.version, version + 1);
                            break;
                        }
                        Err(ContextError::Changed { places, now, .. }) => {
                            assert!(now > version);
                            // Of the two places that were asked for only one is anybody else's.
                            assert!(places.iter().all(|it| it.to_string() == "n" || version == 0));
                            overtaken += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            overtaken
        });
    }
    let overtaken: Vec<i32> = writers.join_all().await;
    assert!(overtaken.iter().sum::<i32>() > 0, "they met");
    let views = views(&stage);
    let last = views.context(&shared, None, &Path::default()).await.unwrap();
    let data = last.data.unwrap();
    assert_eq!((last.version, &data["n"]), (WRITERS * EACH, &json!(WRITERS * EACH)));
    for version in 0..=last.version {
        let then = views.context(&shared, Some(version), &Path::default()).await.unwrap();
        let data = then.data.unwrap();
        assert_eq!(data["n"].as_i64().unwrap_or_default(), version);
        let own = data["of"].as_object().into_iter().flatten();
        let keys = own.flat_map(|(_, turns)| turns.as_object().unwrap().values()).count();
        assert_eq!(i64::try_from(keys).unwrap(), version);
    }
    let history = views.context_history(&shared, None, None).await.unwrap();
    assert_eq!(i64::try_from(history.items.len()).unwrap(), last.version);
}

/// Writers who looked at the same version change places of their own and one that all change; merges
/// keep the former of all, and name the latter exactly.
#[tokio::test(flavor = "multi_thread")]
async fn merges_at_once_lose_nothing_and_name_conflicts_exactly() {
    const WRITERS: usize = 8;
    let stage = Stage::new().await;
    let shared = name(Scope::Global, "default");
    let first = Asked { writes: vec![set("all", json!(0))], ..Asked::default() };
    let base = write(&stage.store, &shared, first).await.unwrap().version;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, shared, tenant) = (stage.another_store(), shared.clone(), TenantId::DEFAULT);
        writers.spawn(async move {
            let own = format!("w{writer}");
            let data = json!({ "all": writer + 1, own.as_str(): { "x": writer } });
            let source = Source::Data { data: data.as_object().unwrap().clone(), base };
            let wanted = |strategy, dry_run| Merge {
                target: shared.clone(),
                source: source.clone(),
                strategy,
                dry_run,
            };
            let refused =
                contexts::merge(&store, tenant, &wanted(Strategy::Manual, false), BY).await;
            let merged = match refused {
                Ok(merged) => return (writer, merged.conflicts),
                Err(ContextError::Conflicts(conflicts)) => {
                    let places: Vec<_> = conflicts.iter().map(|it| it.path.to_string()).collect();
                    assert_eq!(places, ["all"]);
                    contexts::merge(&store, tenant, &wanted(Strategy::PreferTarget, false), BY)
                        .await
                }
                Err(error) => panic!("{error}"),
            };
            (writer, merged.unwrap().conflicts)
        });
    }
    let all: BTreeMap<usize, _> = writers.join_all().await.into_iter().collect();
    let first: Vec<usize> = all
        .iter()
        .filter(|(_, conflicts)| conflicts.is_empty())
        .map(|(writer, _)| *writer)
        .collect();
    let [winner] = first.as_slice() else { panic!("one came first, not {first:?}") };
    let views = views(&stage);
    let data = views.context(&shared, None, &Path::default()).await.unwrap().data.unwrap();
    assert_eq!(data["all"], winner + 1);
    for writer in 0..WRITERS {
        assert_eq!(data[format!("w{writer}")]["x"], writer);
    }
}

/// Two that were merged know what they were, so the next merge takes what either changed since.
#[tokio::test]
async fn contexts_that_were_shared_merge_from_what_they_were_then() {
    let stage = Stage::new().await;
    let (one, other) = (name(Scope::Agent, "ada"), name(Scope::Temporary, "notes"));
    let merge = async |from: &ContextName, into: &ContextName, strategy| {
        let source = Source::Context(from.clone());
        let wanted = Merge { target: into.clone(), source, strategy, dry_run: false };
        contexts::merge(&stage.store, TenantId::DEFAULT, &wanted, BY).await
    };
    let put = async |name: &ContextName, writes: Vec<Write>| {
        write(&stage.store, name, Asked { writes, ..Asked::default() }).await.unwrap();
    };
    put(&one, vec![set("a", json!(1)), set("b", json!(1)), set("list", json!([1]))]).await;
    merge(&one, &other, Strategy::Manual).await.unwrap();
    put(&one, vec![set("a", json!(2)), set("list", json!([1, 2]))]).await;
    put(&other, vec![Write { path: "b".parse().unwrap(), value: None }]).await;
    put(&other, vec![set("list", json!([3, 1]))]).await;
    let refused = merge(&one, &other, Strategy::Manual).await;
    assert!(matches!(refused, Err(ContextError::Conflicts(all)) if all.len() == 1));
    let data = async |name: &ContextName| {
        let found = views(&stage).context(name, None, &Path::default()).await;
        found.unwrap().data.unwrap()
    };
    assert_eq!(data(&other).await, json!({ "a": 1, "list": [3, 1] }), "nothing was merged");
    let merged = merge(&one, &other, Strategy::DeepMerge).await.unwrap();
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(data(&other).await, json!({ "a": 2, "list": [3, 1, 2] }));
    // The way back: what the other had removed is removed here, too.
    merge(&other, &one, Strategy::Manual).await.unwrap();
    assert_eq!(data(&one).await, json!({ "a": 2, "list": [3, 1, 2] }));
    assert!(matches!(merge(&one, &one, Strategy::Manual).await, Err(ContextError::Itself)));
    // Whoever wrote later.
    put(&one, vec![set("a", json!("one"))]).await;
    put(&other, vec![set("a", json!("other"))]).await;
    merge(&one, &other, Strategy::LastWriteWins).await.unwrap();
    assert_eq!(data(&other).await["a"], "other");
    put(&other, vec![set("a", json!("again"))]).await;
    put(&one, vec![set("a", json!("last"))]).await;
    merge(&one, &other, Strategy::LastWriteWins).await.unwrap();
    assert_eq!(data(&other).await["a"], "last");
}

#[tokio::test]
async fn what_is_temporary_goes_when_its_time_is_over() {
    let stage = Stage::new().await;
    let (short, kept) = (name(Scope::Temporary, "short"), name(Scope::Global, "default"));
    for name in [&short, &kept] {
        let asked = Asked { writes: vec![set("a", json!(1))], ..Asked::default() };
        write(&stage.store, name, asked).await.unwrap();
    }
    let long = name(Scope::Temporary, "long");
    let ttl = Some(Span::from_secs(3 * 3_600));
    let asked = Asked { writes: vec![set("a", json!(1))], ttl, ..Asked::default() };
    write(&stage.store, &long, asked).await.unwrap();
    stage.db.advance(Duration::from_hours(2)).await;
    let views = views(&stage);
    let gone = views.context(&short, None, &Path::default()).await;
    assert!(matches!(gone, Err(ContextError::NotFound(_))));
    let names = async || {
        let listed = views.contexts(None, None, None).await.unwrap().items;
        listed.into_iter().map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["default", "long"]);
    // Whoever writes before it was cleared away begins anew.
    let asked = Asked { writes: vec![set("b", json!(1))], expected: Some(0), ttl: None };
    assert_eq!(write(&stage.store, &short, asked).await.unwrap().version, 1);
    stage.db.advance(Duration::from_hours(2)).await;
    assert_eq!(contexts::forget_expired(&stage.store).await.unwrap(), 2);
    assert_eq!(names().await, ["default"]);
}

#[tokio::test]
async fn who_writes_over_http_is_told_what_others_changed() {
    let app = TestApp::new().await;
    let path = "/api/v1/contexts/agent/ada";
    let patch = async |body: Value, tag: Option<&str>| {
        let mut request = app.request(Method::PATCH, path).json(&body);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        Answer::of(request).await
    };
    app.get(path).await.problem(404, "context_not_found");
    let written = patch(json!({ "set": { "build.status": "red", "n": 1 } }), Some("\"0\"")).await;
    assert_eq!((written.status.as_u16(), &written.json["version"]), (200, &json!(1)));
    patch(json!({ "set": { "n": 2 }, "why": "counted again" }), None).await;
    let late = patch(json!({ "set": { "n": 3, "build.status": "green" } }), Some("\"1\"")).await;
    late.problem(412, "context_changed");
    assert_eq!(late.json["places"], json!(["n"]));
    let shown = app.get(&format!("{path}?path=build.status&version=1")).await.json;
    assert_eq!((&shown["data"], &shown["version"]), (&json!("red"), &json!(1)));
    let history = app.get(&format!("{path}/history?limit=1")).await.json;
    assert_eq!(history["items"][0]["why"], "counted again");
    assert_eq!(history["items"][0]["changes"], json!([{ "path": "n", "old": 1, "new": 2 }]));
    let diff = app.get(&format!("{path}/diff?version=0&to_version=1")).await.json;
    assert_eq!(diff["changes"].as_array().unwrap().len(), 2);
    patch(json!({ "set": { "n.x": 1 } }), None).await.problem(422, "invalid_context");
    let large = json!({ "set": { "x": "x".repeat(1024 * 1024) } });
    patch(large, None).await.problem(413, "context_too_large");
    patch(json!({ "set": { "a..b": 1 } }), None).await.problem(400, "invalid_body");
    app.get("/api/v1/contexts/nobody/x").await.problem(400, "invalid_name");
    app.get(&format!("{path}?version=9")).await.problem(404, "version_not_found");
    // A place that both sides changed since they were shared refuses the merge, and is named.
    let share = json!({ "to": "global:default" });
    assert_eq!(app.post(&format!("{path}/share"), &share).await.status.as_u16(), 200);
    patch(json!({ "set": { "n": 7 } }), None).await;
    let other = app.request(Method::PATCH, "/api/v1/contexts/global/default");
    Answer::of(other.json(&json!({ "set": { "n": 8 } }))).await;
    let promoted = app.post(&format!("{path}/promote"), &json!({})).await;
    promoted.problem(409, "context_conflict");
    let conflict = json!({ "path": "n", "base": 2, "source": 7, "target": 8, "taken": null });
    assert_eq!(promoted.json["conflicts"], json!([conflict]));
    let taken = json!({ "strategy": "prefer_source" });
    let promoted = app.post(&format!("{path}/promote"), &taken).await.json;
    assert_eq!(promoted["conflicts"][0]["taken"], "source");
    assert_eq!(app.get("/api/v1/contexts/global/default").await.json["data"]["n"], 7);
    app.stop().await;
}

#[tokio::test]
async fn contexts_are_kept_from_the_command_line() {
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"));
    user.write("one.yaml", "{ version: 1, name: one, tasks: { a: { run: echo hello } } }");
    let _up = user.up().await;
    user.run(&["run", "one.yaml"]).expect(0);
    let said = user.run(&["context", "set", "@latest", "owner=ada", "tries:=2", "--why", "noted"]);
    assert!(said.expect(0).stdout.contains("+ owner = \"ada\""));
    assert_eq!(user.run(&["context", "get", "@latest", "tries"]).expect(0).stdout.trim(), "2");
    user.run(&["context", "set", "@latest", "tries:=3", "--expect", "0"]).expect(5);
    user.run(&["context", "set", "@latest", "tries:=3", "--expect", "1"]).expect(0);
    let diff = user.run(&["context", "diff", "@latest@1", "@latest@2"]).expect(0);
    assert_eq!(diff.stdout.trim(), "~ tries = 2 -> 3");
    user.run(&["context", "promote", "@latest"]).expect(0);
    user.run(&["context", "share", "global", "agent:ada"]).expect(0);
    user.run(&["context", "set", "agent:ada", "tries:=4", "--remove", "owner"]).expect(0);
    let merged = user.run(&["context", "merge", "agent:ada", "--into", "global", "--dry-run"]);
    assert!(merged.expect(0).stdout.contains("- owner = \"ada\""));
    assert_eq!(user.run(&["context", "get", "global", "owner"]).expect(0).stdout.trim(), "ada");
    user.run(&["context", "merge", "agent:ada", "--into", "global"]).expect(0);
    user.run(&["context", "get", "global", "owner"]).expect(4);
    let history = user.run(&["context", "history", "@latest"]).expect(0).stdout;
    assert!(history.contains(": noted"), "{history}");
    let listed = user.run(&["context", "list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    user.run(&["context", "delete", "agent:ada"]).expect(0);
    user.run(&["context", "get", "agent:ada"]).expect(4);
    user.run(&["context", "get", "elsewhere:x"]).expect(2);
}
