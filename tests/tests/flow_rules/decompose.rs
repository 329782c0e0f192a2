//! Goals broken down: templates, planners, plans that people change, and plans that are refused.

use std::{path::Path, time::Duration};

use chrono::Utc;
use jobshop_engine::{
    decompose,
    id::{SessionId, SessionKey},
    plan::NodeIndex,
    session::SessionState,
    store::{claim::Held, control},
    task::TaskState,
};
use jobshop_tests::{Fleet, Stage, TestApp, git, stage, truth, wait};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{LIMIT, end_of, fleet, told};

/// A script that every subtask's agent plays: it puts out what it was asked, and who it is.
fn script(folder: &Path) -> String {
    let file = folder.join("agent.yaml");
    std::fs::write(&file, "steps:\n- outputs: { asked: '{{ prompt }}', by: '{{ task }}' }\n")
        .unwrap();
    file.display().to_string()
}

fn by_template(name: &str, script: &str, more: &str) -> String {
    format!(
        "
version: 1
name: parent
inputs: {{ goal: {{ type: string, required: true }} }}
tasks:
  build:
    decompose:
      goal: ${{{{ inputs.goal }}}}
      template: {name}
      agent: {{ runtime: scripted, script: {script} }}
{more}
outputs: {{ build: '${{{{ tasks.build.outputs }}}}' }}
"
    )
}

/// The only child of a session.
async fn child(fleet: &Fleet, parent: SessionKey) -> SessionKey {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from sessions where parent_id = $1")
        .bind(parent.id.0)
        .fetch_all(fleet.db.pool())
        .await
        .unwrap();
    assert_eq!(ids.len(), 1);
    SessionKey { tenant: parent.tenant, id: SessionId(ids[0]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_template_is_followed_to_its_end() {
    let fleet = fleet().await;
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path());
    // What looks like an expression in a goal is none.
    let goal = "Keep customers in a table, ${{ not.an.expression }}";
    for template in decompose::templates() {
        let definition = by_template(&template.name, &script, "");
        let key = fleet.submit(&definition, json!({ "goal": goal })).await;
        let observed = end_of(&fleet, key).await;
        assert_eq!(observed.state, SessionState::Completed, "{}", told(&observed));
        let outputs = &observed.outputs.as_ref().unwrap()["build"];
        assert_eq!(outputs["plan"]["template"], template.reference());
        for part in &template.subtasks {
            let done = outputs["tasks"][&part.id].as_object().unwrap();
            let done = done.get("asked").or_else(|| done["work"].get("asked")).unwrap();
            let first = part.prompt.lines().next().unwrap();
            assert!(done.as_str().unwrap().starts_with(first), "{done}");
            assert!(done.as_str().unwrap().contains(goal), "{done}");
        }
        let subtasks = end_of(&fleet, child(&fleet, key).await).await;
        assert_eq!(subtasks.state, SessionState::Completed);
    }
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

/// A planner that puts this out.
fn planner(folder: &Path, plan: &Value) -> String {
    let file = folder.join("planner.json");
    let script = json!({ "steps": [{ "outputs": plan }] });
    std::fs::write(&file, script.to_string()).unwrap();
    file.display().to_string()
}

fn by_planner(planner: &str, script: &str) -> String {
    format!(
        "
version: 1
name: parent
tasks:
  build:
    decompose:
      goal: Keep customers
      planner: {{ runtime: scripted, script: {planner} }}
      max_depth: 2
      agent: {{ runtime: scripted, script: {script} }}
  after: {{ needs: [build], uses: builtin/noop }}
outputs: {{ build: '${{{{ tasks.build.outputs }}}}' }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_makes_the_plan_and_a_malformed_one_is_refused_with_its_place() {
    let fleet = fleet().await;
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path());
    let subtasks = |needs: Value| {
        json!({ "subtasks": [
            { "id": "storage", "prompt": "Store them", "paths": ["src"], "estimate": 2 },
            { "id": "api", "prompt": "Offer them", "paths": ["src/api"], "needs": needs },
        ] })
    };
    let definition = by_planner(&planner(folder.path(), &subtasks(json!([]))), &script);
    let key = fleet.submit(&definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(observed.state, SessionState::Completed, "{}", told(&observed));
    let build = &observed.outputs.as_ref().unwrap()["build"];
    assert_eq!(
        build["plan"]["locks"],
        json!({ "api": ["storage+api"], "storage": ["storage+api"] })
    );
    assert_eq!(build["tasks"]["api"]["by"], "api");
    // What is too large is broken down again, so often and not more often.
    let big = json!({ "subtasks": [{ "id": "big", "prompt": "Do all of it", "decompose": true }] });
    let key = fleet.submit(&by_planner(&planner(folder.path(), &big), &script), Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(observed.state, SessionState::Completed, "{}", told(&observed));
    let big = &observed.outputs.as_ref().unwrap()["build"]["tasks"]["big"];
    assert_eq!(big["tasks"].as_object().unwrap().len(), 1);
    assert!(big["plan"]["goal"].as_str().unwrap().starts_with("Do all of it"), "{big}");
    assert_eq!(big["tasks"]["big"]["by"], "big");
    for (plan, class, why) in [
        (
            subtasks(json!(["storag"])),
            "schema",
            "subtasks[1].needs[0]: there is no subtask `storag`",
        ),
        (json!({ "subtasks": [{ "id": "a" }] }), "schema", "required"),
    ] {
        let definition = by_planner(&planner(folder.path(), &plan), &script);
        let key = fleet.submit(&definition, Value::Null).await;
        let observed = end_of(&fleet, key).await;
        let error = observed.rows["build"].error.as_ref().unwrap();
        assert_eq!(error["class"], class, "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert_eq!(observed.rows["after"].reason.unwrap().as_str(), "upstream_failed");
    }
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

/// A session whose plan is to be approved, and what is asked.
async fn asked(app: &TestApp, folder: &Path) -> (String, Value) {
    let definition = by_template("crud", &script(folder), "      approve: true\n")
        .replace("required: true", "default: Keep customers");
    let session = app.submit(&definition).await["id"].as_str().unwrap().to_owned();
    let open = wait::until("the question", LIMIT, async || {
        let all = app.get("/api/v1/approvals").await.json["items"].clone();
        all.get(0).cloned()
    })
    .await;
    (session, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_first_and_may_answer_with_another_plan() {
    let mut app = TestApp::new().await;
    app.start();
    let folder = tempfile::tempdir().unwrap();
    let (session, open) = asked(&app, folder.path()).await;
    let message = open["message"].as_str().unwrap();
    assert!(message.contains("\ncreate | ") && message.contains("\ntests | "), "{message}");
    let path = format!("/api/v1/approvals/{}/approve", open["id"].as_str().unwrap());
    let malformed =
        json!({ "plan": { "subtasks": [{ "id": "a", "prompt": "x", "needs": ["b"] }] } });
    let refusal = app.post(&path, &malformed).await;
    assert!(refusal.problem(400, "invalid_body").contains("subtasks[0].needs[0]"), "{refusal:?}");
    let other = json!({ "plan": { "subtasks": [{ "id": "only", "prompt": "Do it all", "requires": [] }] } });
    app.post(&path, &other).await;
    let ended = app.until_status(&session, "completed").await;
    let build = &ended["outputs"]["build"];
    assert_eq!(build["plan"]["subtasks"][0]["id"], "only");
    assert_eq!(build["tasks"].as_object().unwrap().len(), 1);
    let kind =
        app.get(&format!("/api/v1/sessions/{session}/tasks/build")).await.json["kind"].clone();
    assert_eq!(kind, "decompose");
    app.stop().await;
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_leaves_one_plan() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let parent =
        by_template("security", "none.yaml", "").replace("required: true", "default: Log in");
    let parent = stage.submit(&parent).await;
    let others: Vec<_> = (0..4).map(|_| stage.another_store()).collect();
    let all_tick = async || {
        let tick = |store| async move { while control::tick(store).await.unwrap() > 0 {} };
        futures::future::join_all(others.iter().map(tick)).await;
    };
    all_tick().await;
    let dead = stage.player("dead").await;
    let held = dead.claim_one().await;
    dead.note(&[(held.fence, 60)]).await;
    stage.db.advance(Duration::from_secs(31)).await;
    assert_eq!(stage.housekeep().await, 1);
    all_tick().await;
    let again = stage.player("another").await.claim_one().await;
    assert_eq!(again.fence.task, held.fence.task);
    let plans: Vec<Value> =
        sqlx::query_scalar("select s.inputs -> 'plan' from sessions s where s.parent_id = $1")
            .bind(parent.id.0)
            .fetch_all(stage.db.pool())
            .await
            .unwrap();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0]["template"], "security@1");
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_repository_subtasks_build_on_each_other_and_edits_elsewhere_are_findings() {
    let fleet = fleet().await;
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    std::fs::write(repo.join("log"), "begin\n").unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "one"]);
    let script = folder.path().join("agent.yaml");
    let edits = "steps:\n- append: { path: log, text: \"{{ task }}\\n\" }\n- write: { path: 'docs/{{ task }}', text: x }\n";
    std::fs::write(&script, edits).unwrap();
    let definition = format!(
        "
version: 1
name: parent
workspace: {{ repo: {repo} }}
tasks:
  build:
    decompose:
      goal: Write a log
      plan:
        subtasks:
        - {{ id: a, prompt: x, paths: [log] }}
        - {{ id: b, prompt: x, paths: [log, docs] }}
        - {{ id: c, prompt: x, paths: [other], needs: [a, b] }}
        - {{ id: d, subtasks: [{{ id: e, prompt: x, needs: [] }}], needs: [c] }}
      agent: {{ runtime: scripted, script: {script} }}
  after:
    needs: [build]
    run: 'echo \"lines:=$(wc -l < log)\" > \"$JOBSHOP_OUTPUT\"'
outputs: {{ build: '${{{{ tasks.build.outputs }}}}', lines: '${{{{ tasks.after.outputs.lines }}}}' }}
",
        repo = repo.display(),
        script = script.display(),
    );
    let key = fleet.submit(&definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(observed.state, SessionState::Completed, "{:?}", observed.rows["build"].error);
    let outputs = observed.outputs.as_ref().unwrap();
    assert_eq!(outputs["lines"], 5, "{outputs}");
    let tasks = &outputs["build"]["tasks"];
    assert_eq!(tasks["a"]["findings"][0]["files"], json!(["docs/a"]));
    assert_eq!(tasks["b"].get("findings"), None);
    assert_eq!(tasks["c"]["findings"][0]["files"], json!(["docs/c", "log"]));
    let log =
        git(&repo, &["show", &format!("{}:log", outputs["build"]["commit"].as_str().unwrap())]);
    assert_eq!(log, "begin\na\nb\nc\nd.e");
    fleet.stop().await;
}

/// Each dependency, with a worker that does everything in the wrong order where it is let.
#[tokio::test]
async fn every_type_of_dependency_is_kept() {
    let stage = Stage::new().await;
    let parent = stage
        .submit(
            "
version: 1
name: parent
tasks:
  build:
    decompose:
      goal: Try it
      plan:
        subtasks:
        - { id: a, prompt: x }
        - { id: fs, prompt: x, needs: [a] }
        - { id: ss, prompt: x, needs: [{ task: a, type: start_to_start }] }
        - { id: ff, prompt: x, needs: [{ task: a, type: finish_to_finish }] }
        - { id: sf, prompt: x, needs: [{ task: a, type: start_to_finish }] }
",
        )
        .await;
    stage.settle().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from sessions where parent_id = $1")
        .bind(parent.id.0)
        .fetch_all(stage.db.pool())
        .await
        .unwrap();
    let child = SessionKey { tenant: parent.tenant, id: SessionId(ids[0]) };
    let infos = stage.store.infos.load(&stage.store, &[child]).await.unwrap();
    let plan = &infos[&child].version.plan;
    let row = |key: &str| {
        let found = (0..).zip(&plan.nodes).find(|(at, _)| plan.path(NodeIndex(*at), &[]) == key);
        plan.root_row(NodeIndex(found.unwrap().0))
    };
    let state = async |key: &str| stage.task(child, row(key)).await.state();
    let player = stage.player("one").await;
    let held = player.claim(100).await;
    let of = |held: &[Held], key: &str| {
        held.iter().find(|held| held.fence.task.seq == row(key)).map(|held| held.fence)
    };
    // All of them are asked for at once: what has to wait for a start is not handed out.
    assert_eq!(held.len(), 3);
    assert!(of(&held, "fs").is_none() && of(&held, "ss.ss-work").is_none());
    // Both are done before `a` has started, and have not ended for that.
    let done = ["ff.ff-work", "sf.sf-work"].map(|key| stage::succeeded(of(&held, key).unwrap()));
    player.finish(&done).await;
    stage.settle().await;
    assert_eq!(state("ff").await, TaskState::Blocked);
    assert_eq!(state("sf").await, TaskState::Blocked);
    assert!(player.claim(100).await.is_empty());
    let a = of(&held, "a").unwrap();
    player.note(&[(a, 60)]).await;
    stage.settle().await;
    assert_eq!(state("ff").await, TaskState::Blocked);
    assert_eq!(state("sf").await, TaskState::Completed);
    let held = player.claim(100).await;
    let work = of(&held, "ss.ss-work").unwrap();
    assert_eq!(held.len(), 1);
    player.finish(&[stage::succeeded(a)]).await;
    stage.settle().await;
    assert_eq!(state("ff").await, TaskState::Completed);
    let last = of(&player.claim(100).await, "fs").unwrap();
    player.finish(&[stage::succeeded(work), stage::succeeded(last)]).await;
    stage.settle().await;
    assert_eq!(stage.state(parent).await, SessionState::Completed);
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_never_read_as_a_plan() {
    let mut app = TestApp::new().await;
    app.start();
    let folder = tempfile::tempdir().unwrap();
    let (session, open) = asked(&app, folder.path()).await;
    let id = open["id"].as_str().unwrap();
    let comment = r#"{"subtasks": [{"id": "mine", "prompt": "x"}]} would be another way"#;
    app.post(&format!("/api/v1/approvals/{id}/approve"), &json!({ "comment": comment })).await;
    let ended = app.until_status(&session, "completed").await;
    assert_eq!(ended["outputs"]["build"]["plan"]["template"], "crud@1");
    app.stop().await;
}
