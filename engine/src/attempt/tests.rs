//! From a plan and loaded values to an attempt.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Attempt, CapturedCommit, Identity, Work, Workspace, prepare, sleep};
use crate::{
    expression::{
        self,
        values::{ItemValue, SessionFacts, TaskValue, Values},
    },
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure},
    plan::{Command, NodeIndex, Plan},
    task::TaskState,
    workflow::compile,
};

const BATCH: &str = r#"
version: 1
name: batch
inputs: { goal: { type: string }, repo: { type: string } }
env: { GOAL: "${{ inputs.goal }}" }
workspace: { repo: "${{ inputs.repo }}", base: main }
tasks:
  plan: { run: ./plan.sh }
  other: { agent: { runtime: scripted, script: o.yaml } }
  soft: { run: ls, continue_on_failure: true }
  build:
    needs: [plan]
    for_each: ${{ tasks.plan.outputs.parts }}
    as: part
    key: ${{ part.name }}
    env: { PART: "${{ part }}", GOAL: "${{ part.name }} of ${{ inputs.goal }}" }
    tasks:
      write:
        agent: { runtime: command, command: [agent], prompt: "Write ${{ part.name }}", model: "" }
      fix: { needs: [write], agent: { runtime: scripted, script: "${{ part.name }}.yaml" } }
      check:
        needs: [fix]
        run: [cargo, test]
        env: { W: "${{ tasks.write.outputs }}", N: "${{ needs.fix.status }}", E: "${{ tasks.fix.error }}" }
  merge:
    needs: [other, build, soft]
    uses: builtin/merge
    with: { into: "result/${{ session.id }}" }
  prove:
    needs: [merge]
    run: echo "$DONE"
    env:
      DONE: ${{ tasks.build.completed }}
      COUNT: ${{ tasks.build.failed | length }}
      FIRST: ${{ tasks.build.items.a.check.status }}
      BY: ${{ tasks.build.items['a'].write.outputs.commit }}
      SOFT: ${{ tasks.soft.outputs }}
      WHO: ${{ session.title }}/${{ session.retry }}/${{ session.started_at }}/${{ workflow.name }}/${{ workflow.version }}
    idempotency_key: once-${{ session.id }}
  twice: { needs: [merge, soft], run: ls }
  chosen: { needs: [merge, soft], run: ls, workspace: { from: soft } }
  nap: { sleep: "${{ inputs.goal }}s" }
"#;

fn batch() -> Plan {
    compile(BATCH).unwrap()
}

fn index(plan: &Plan, id: &str) -> NodeIndex {
    let at = plan.nodes.iter().position(|node| node.id == id).unwrap();
    NodeIndex(u32::try_from(at).unwrap())
}

fn task(status: TaskState, outputs: Value) -> TaskValue {
    TaskValue { status, outputs, error: None }
}

fn done(outputs: Value) -> TaskValue {
    task(TaskState::Completed, outputs)
}

fn item(plan: &Plan, key: &str, status: TaskState, commits: [Option<&str>; 2]) -> ItemValue {
    let tasks = ["write", "fix"]
        .into_iter()
        .zip(commits)
        .map(|(id, commit)| (index(plan, id), done(json!({ "commit": commit }))));
    let check = (index(plan, "check"), done(json!({ "exit_code": 0 })));
    ItemValue {
        key: key.to_owned(),
        index: 0,
        status,
        tasks: tasks.chain([check]).collect(),
        items: BTreeMap::new(),
    }
}

fn values(plan: &Plan, tasks: &[(&str, TaskValue)]) -> Values {
    Values {
        inputs: json!({ "goal": "speed", "repo": "/srv/repo" }).as_object().unwrap().clone(),
        session: SessionFacts {
            id: "0190".to_owned(),
            title: "A title".to_owned(),
            retry: 0,
            started_at: None,
            ..SessionFacts::default()
        },
        workflow: ("batch".to_owned(), 3),
        tasks: tasks.iter().map(|(id, value)| (index(plan, id), value.clone())).collect(),
        items: HashMap::new(),
        item: Vec::new(),
        ..Values::default()
    }
}

fn identity(task: &str) -> Identity {
    let session = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(Uuid::from_u128(7)) };
    let fence = Fence {
        task: TaskKey { session, seq: 4 },
        attempt: 1,
        worker: WorkerId(Uuid::from_u128(9)),
    };
    Identity { fence, task: task.to_owned(), file_dir: None }
}

fn prepared(plan: &Plan, id: &str, values: &Values) -> Result<Attempt, Failure> {
    prepare(plan, index(plan, id), values, identity(id))
}

fn env(attempt: &Attempt) -> Vec<(&str, &str)> {
    attempt.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn an_attempt_in_an_item_sees_the_item_and_its_siblings() {
    let plan = batch();
    let mut values = values(
        &plan,
        &[
            ("write", done(json!({ "commit": "c1", "n": [1, true] }))),
            ("fix", TaskValue { error: None, ..done(json!({ "commit": "c2" })) }),
            ("plan", done(json!({}))),
        ],
    );
    values.item = vec![(index(&plan, "build"), "a".to_owned(), json!({ "name": "a", "n": 1 }))];
    let attempt = prepared(&plan, "check", &values).unwrap();
    assert_eq!(
        env(&attempt),
        [
            ("GOAL", "a of speed"),
            ("PART", r#"{"name":"a","n":1}"#),
            ("W", r#"{"commit":"c1","n":[1,true]}"#),
            ("N", "completed"),
            ("E", ""),
        ]
    );
    assert_eq!(attempt.work, Work::Run(Command::Argv(vec!["cargo".into(), "test".into()])));
    assert_eq!(
        attempt.workspace,
        Workspace::Clone {
            repo: "/srv/repo".into(),
            base: Some("main".into()),
            at: Some("c2".into())
        }
    );
    assert_eq!(attempt.idempotency_key, format!("{}/check", Uuid::from_u128(7)));
    let Work::Agent(write) = prepared(&plan, "write", &values).unwrap().work else { panic!() };
    assert_eq!((write.prompt.as_str(), write.model), ("Write a", None));
    let Work::Agent(fix) = prepared(&plan, "fix", &values).unwrap().work else { panic!() };
    assert_eq!(fix.script.as_deref(), Some("a.yaml"));
}

#[test]
fn a_merge_takes_the_last_commit_of_each_completed_item() {
    let plan = batch();
    let mut values = values(
        &plan,
        &[
            ("other", done(json!({ "commit": "o" }))),
            ("soft", task(TaskState::Failed, json!({ "commit": "s" }))),
            ("build", task(TaskState::Failed, json!(null))),
        ],
    );
    values.items.insert(
        index(&plan, "build"),
        vec![
            item(&plan, "a", TaskState::Completed, [Some("a1"), Some("a2")]),
            item(&plan, "b", TaskState::Failed, [Some("b1"), Some("b2")]),
            item(&plan, "c", TaskState::Completed, [Some("c1"), None]),
            item(&plan, "d", TaskState::Completed, [None, None]),
        ],
    );
    let attempt = prepared(&plan, "merge", &values).unwrap();
    let Work::Merge(merge) = attempt.work else { panic!() };
    assert_eq!(merge.into.as_deref(), Some("result/0190"));
    let commit =
        |task: &str, commit: &str| CapturedCommit { task: task.into(), commit: commit.into() };
    assert_eq!(
        merge.commits,
        [
            commit("other", "o"),
            commit("build[a].fix", "a2"),
            commit("build[c].write", "c1"),
            commit("soft", "s")
        ]
    );
    assert_eq!(attempt.env, []);

    let task_of = |id: &str| plan.node(index(&plan, id)).references.clone();
    let merge = task_of("merge");
    assert_eq!(merge.tasks, [index(&plan, "other"), index(&plan, "soft")]);
    assert_eq!(merge.items, [index(&plan, "build")]);
}

#[test]
fn items_are_looked_up_by_key_and_listed_in_order() {
    let plan = batch();
    let mut values = values(
        &plan,
        &[
            ("soft", task(TaskState::Failed, json!({ "x": 1 }))),
            ("merge", done(json!({ "commit": "m" }))),
        ],
    );
    values.session.started_at = Some("2026-01-01T00:00:00Z".to_owned());
    values.items.insert(
        index(&plan, "build"),
        vec![
            item(&plan, "z", TaskState::Completed, [None, None]),
            item(&plan, "a", TaskState::Completed, [Some("a1"), None]),
            item(&plan, "0", TaskState::Failed, [None, None]),
        ],
    );
    let attempt = prepared(&plan, "prove", &values).unwrap();
    assert_eq!(
        env(&attempt)[1..],
        [
            ("DONE", r#"["z","a"]"#),
            ("COUNT", "1"),
            ("FIRST", "completed"),
            ("BY", "a1"),
            ("SOFT", r#"{"x":1}"#),
            ("WHO", "A title/0/2026-01-01T00:00:00Z/batch/3"),
        ]
    );
    assert_eq!(attempt.idempotency_key, "once-0190");
    let scope = values.scope(&plan, Some(index(&plan, "prove")));
    for source in [
        "tasks.build.items.0.check.status",
        "tasks.build.items['0'].check.status",
        "tasks.build.items[0].check.status",
    ] {
        assert_eq!(
            expression::render(&format!("${{{{ {source} }}}}"), &scope).unwrap(),
            json!("completed")
        );
    }
    let keys = expression::render("${{ tasks.build.items | list }}", &scope).unwrap();
    assert_eq!(keys, json!(["z", "a", "0"]));
    let missing = expression::render("${{ tasks.build.items.q.check }}", &scope).unwrap_err();
    assert_eq!(missing.message, "`tasks.build.items.q` is undefined");
}

#[test]
fn the_commit_to_start_at_is_that_of_one_need() {
    let plan = batch();
    let both = values(
        &plan,
        &[("merge", done(json!({ "commit": "m" }))), ("soft", done(json!({ "commit": "s" })))],
    );
    let failure = prepared(&plan, "twice", &both).unwrap_err();
    assert_eq!(failure.class, ErrorClass::Template);
    assert_eq!(
        failure.message,
        "several needs captured a commit (merge, soft): say which to start at with `workspace: { from: … }`"
    );
    let at = |id: &str, values: &Values| match prepared(&plan, id, values).unwrap().workspace {
        Workspace::Clone { at, .. } => at,
        Workspace::Empty => panic!("no clone"),
    };
    assert_eq!(at("chosen", &both).as_deref(), Some("s"));
    let one = values(
        &plan,
        &[("merge", done(json!({ "commit": "m" }))), ("soft", done(json!({ "commit": null })))],
    );
    assert_eq!(at("twice", &one).as_deref(), Some("m"));
    assert_eq!(at("chosen", &one), None);
    assert_eq!(at("plan", &one), None);
}

#[test]
fn outputs_show_only_when_the_task_completed_or_was_allowed_to_fail() {
    let plan = compile(
        "version: 1\nname: x\ntasks:\n  a: { run: ls }\n  g:\n    continue_on_failure: true\n    tasks:\n      b: { run: ls }\n      c: { run: ls, needs: [b], join: all_done }\n  d: { run: ls, needs: [a, g], join: all_done }\n",
    )
    .unwrap();
    let failed = TaskValue {
        status: TaskState::Failed,
        outputs: json!({ "x": 1 }),
        error: Some(Failure::new(ErrorClass::Timeout, "too slow")),
    };
    let values = values(&plan, &[("a", failed.clone()), ("b", failed.clone()), ("g", failed)]);
    let show = |source: &str, node: Option<&str>| {
        let scope = values.scope(&plan, node.map(|id| index(&plan, id)));
        expression::render(&format!("${{{{ {source} }}}}"), &scope).unwrap()
    };
    assert_eq!(show("tasks.a.outputs", Some("d")), json!({}));
    assert_eq!(
        show("tasks.a.error", Some("d")),
        json!({ "class": "timeout", "message": "too slow" })
    );
    // The flag of the group counts for who stands outside of it.
    assert_eq!(show("tasks.b.outputs", Some("c")), json!({}));
    assert_eq!(show("tasks.g.tasks.b.outputs", Some("d")), json!({ "x": 1 }));
    assert_eq!(show("tasks.g.tasks.b.outputs", None), json!({ "x": 1 }));
    assert_eq!(show("tasks.g.status ~ needs.g.status", Some("d")), json!("failedfailed"));
    assert_eq!(show("tasks.g.outputs", Some("d")), json!({}));
}

#[test]
fn relative_repositories_need_a_folder_to_start_from() {
    let plan = batch();
    for (repo, is_refused) in [
        (".", true),
        ("../x", true),
        ("repo", true),
        ("a/b:c", true),
        ("/srv/x", false),
        ("https://host/x.git", false),
        ("file:///x", false),
        ("git@host:x.git", false),
    ] {
        let mut values = values(&plan, &[]);
        values.inputs.insert("repo".to_owned(), json!(repo));
        assert_eq!(prepared(&plan, "plan", &values).is_err(), is_refused, "{repo}");
        let folder = Some("/work".to_owned());
        let here = prepare(
            &plan,
            index(&plan, "plan"),
            &values,
            Identity { file_dir: folder, ..identity("plan") },
        );
        assert!(here.is_ok());
    }
    let mut none = values(&plan, &[]);
    none.inputs.insert("repo".to_owned(), json!(null));
    assert_eq!(prepared(&plan, "plan", &none).unwrap().workspace, Workspace::Empty);
}

#[test]
fn a_sleep_may_be_computed() {
    let plan = batch();
    let mut values = values(&plan, &[]);
    values.inputs.insert("goal".to_owned(), json!(7));
    assert_eq!(sleep(&plan, index(&plan, "nap"), &values).unwrap().ms, 7_000);
    values.inputs.insert("goal".to_owned(), json!("soon"));
    let failure = sleep(&plan, index(&plan, "nap"), &values).unwrap_err();
    assert_eq!(failure.class, ErrorClass::Template);
    assert!(failure.message.contains("`soons` is not a duration"));
}
