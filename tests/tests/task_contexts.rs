//! What tasks write into the context of their session, and what other tasks read there.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use jobshop_engine::{
    context::{ContextName, Path},
    id::SessionKey,
    session::SessionState,
    store::{
        Views,
        archive::{Archive, Retention},
        archiving::{self, Walk},
        contexts::{self, ChangeObject},
        fork::{self, NewFork},
    },
};
use jobshop_tests::Fleet;
use serde_json::{Map, Value, json};

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    fleet
}

/// What is in the context of a session, and its changes, the first one first.
async fn context(fleet: &Fleet, key: SessionKey) -> (Value, Vec<ChangeObject>) {
    contexts::fold_session(&fleet.store, key).await.unwrap();
    let views = Views::new(&fleet.store, key.tenant);
    let name = ContextName::of_session(key.id);
    let data = views.context(&name, None, &Path::default()).await.unwrap().data.unwrap();
    let mut changes = views.context_history(&name, None, Some(1_000)).await.unwrap().items;
    changes.reverse();
    (data, changes)
}

async fn outputs(fleet: &Fleet, key: SessionKey) -> Value {
    let views = Views::new(&fleet.store, key.tenant);
    json!(views.session(key).await.unwrap().outputs)
}

const CHAIN: &str = r#"
version: 1
name: chain
tasks:
  plan:
    run: echo 'n:=2' >> "$JOBSHOP_OUTPUT"
    context:
      plan: { n: "${{ outputs.n }}", by: planner }
      seen: "${{ inputs | length }}"
  build:
    needs: [plan]
    run: echo "got=$N $BY" >> "$JOBSHOP_OUTPUT"
    env: { N: "${{ context.plan.n }}", BY: "${{ context.plan.by }}" }
    context: { plan.n: "${{ context.plan.n + 1 }}" }
  check:
    needs: [build]
    when: context.plan.n == 3
    uses: builtin/noop
  wrong:
    needs: [check]
    uses: builtin/noop
    context: { seen.deep: 1 }
outputs:
  got: "${{ tasks.build.outputs.got }}"
  plan: "${{ context.plan }}"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reads_what_tasks_before_it_wrote() {
    let fleet = fleet().await;
    let (key, state) = fleet.run(CHAIN).await;
    assert_eq!(state, SessionState::Completed);
    let plan = json!({ "n": 3, "by": "planner" });
    assert_eq!(outputs(&fleet, key).await, json!({ "got": "2 planner", "plan": plan }));
    let (data, changes) = context(&fleet, key).await;
    assert_eq!(data, json!({ "plan": plan, "seen": 0 }));
    let told: Vec<_> = changes.iter().map(|it| (it.actor.as_str(), it.error.as_deref())).collect();
    // What cannot be written is told, and does its task no harm.
    let refused = "`seen.deep` cannot be written: `seen` is no object";
    assert_eq!(told, [("task plan", None), ("task build", None), ("task wrong", Some(refused))]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_items_write_beside_each_other_nothing_is_lost() {
    const ITEMS: usize = 40;
    let mut fleet = fleet().await;
    fleet.worker();
    let definition = format!(
        "
version: 1
name: fan
tasks:
  all:
    for_each: ${{{{ range({ITEMS}) }}}}
    tasks:
      one:
        uses: builtin/noop
        context:
          of.file-${{{{ item }}}}.rs: ${{{{ item }}}}
          files.${{{{ 'src/' ~ item ~ '.rs' }}}}: true
          count: ${{{{ (context.count | default(0)) + 1 }}}}
  after:
    needs: [all]
    uses: builtin/noop
    when: context.count == {ITEMS}
outputs: {{ after: '${{{{ tasks.after.status }}}}' }}
"
    );
    let (key, _) = fleet.run(&definition).await;
    assert_eq!(outputs(&fleet, key).await, json!({ "after": "completed" }));
    let (data, changes) = context(&fleet, key).await;
    assert_eq!((changes.len(), &data["count"]), (ITEMS, &json!(ITEMS)));
    for item in 0..ITEMS {
        assert_eq!(data["of"][format!("file-{item}")]["rs"], item);
        assert_eq!(data["files"][format!("src/{item}.rs")], true);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_goes_with_its_session_and_along_to_forks() {
    let fleet = fleet().await;
    let (key, _) = fleet.run(CHAIN).await;
    let row = fleet.rows(key).await.into_iter().find(|row| row.node == 1).unwrap();
    let new = NewFork {
        origin: key,
        at: row.seq,
        task: "build".to_owned(),
        inputs: Map::new(),
        title: None,
        checkpoint: None,
        reason: None,
        actor: Some("ada".to_owned()),
    };
    let forked = fork::fork(&fleet.store, new).await.unwrap();
    fleet.end_of(forked).await;
    let (data, changes) = context(&fleet, forked).await;
    // `build` ran again and counted on from there; `check` then has nothing to check.
    assert_eq!(data["plan"]["n"], 4);
    let actors: Vec<&str> = changes.iter().map(|it| it.actor.as_str()).collect();
    assert_eq!(actors, ["ada", "task build", "task wrong"]);

    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(folder.path()).unwrap();
    let mut store = fleet.store.clone();
    let after = Some("1h".parse().unwrap());
    store.retention = Retention { archive: Some(archive.clone()), after };
    sqlx::query("update session_progress set finished_at = finished_at - interval '1 day'")
        .execute(fleet.db.pool())
        .await
        .unwrap();
    let due = archiving::look(&store.pool, &store.retention, &mut Walk::default()).await.unwrap();
    assert_eq!(due.len(), 2);
    for due in due {
        assert!(archiving::archive(&store, &archive, due).await.unwrap());
    }
    while archiving::clear(&store.pool).await.unwrap() > 0 {}
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from contexts) + (select count(*) from context_changes)",
    )
    .fetch_one(fleet.db.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
    fleet.stop().await;
}
