//! A simulation tells what really happens: random workflows are played on the virtual clock and run
//! through the store, and come to the same ends.

use std::collections::BTreeMap;

use jobshop_engine::{
    simulate::{Stubs, simulate},
    task::TaskState,
    workflow,
};
use jobshop_tests::{
    CommandLine,
    model::{
        flow::{Coming, Ending, Flow, INPUTS, Kind, Steering, Verdict, input},
        lane::Lane,
        observe::Observed,
        trial,
    },
};
use proptest::strategy::ValueTree as _;
use serde_json::{Map, Value, json};

const CASES: usize = 150;
const BATCH: usize = 50;
/// Of a run without wishes.
const SEED: u64 = 7;
/// More attempts than any task has.
const ATTEMPTS: usize = 30;

/// The stub of one row: what its attempts came to. What an attempt would have put out that `failed`
/// tasks never came to is not said: a stub's outputs count for a failure that is allowed, too.
fn stub(kind: &Kind, key: &str, failed: bool) -> Option<Value> {
    match kind {
        Kind::Work(work) => {
            let endings = work.endings_of(key, false);
            let mut failures = Vec::new();
            let mut stub = json!({});
            for ending in endings.iter().chain(std::iter::repeat(endings.last()?)).take(ATTEMPTS) {
                match ending {
                    Ending::Succeeds(_) if failed => break,
                    Ending::Succeeds(output) => {
                        stub["outputs"] = Value::Object(output.json());
                        break;
                    }
                    Ending::Fails(class) => failures.push(class.as_str()),
                    Ending::Crashes => failures.push("crash"),
                }
            }
            stub["failures"] = json!(failures);
            Some(stub)
        }
        Kind::Ask(Verdict::Approved) => Some(json!({ "decision": "approve" })),
        Kind::Ask(Verdict::Rejected | Verdict::Overruled) => Some(json!({ "decision": "reject" })),
        Kind::Ask(Verdict::ApprovedInSilence | Verdict::RejectedInSilence) => {
            Some(json!({ "decision": "none" }))
        }
        Kind::Wait(Coming::Never) => Some(json!({ "never": true })),
        Kind::Sleep(_)
        | Kind::Wait(_)
        | Kind::Group(_)
        | Kind::Each(_)
        | Kind::Child(_)
        | Kind::Rounds(_) => None,
    }
}

/// What is different in the simulation.
fn differences(flow: &Flow, real: &Observed) -> Vec<String> {
    let mut tasks = Map::new();
    for (key, row) in &real.rows {
        let id = key.rsplit('.').next().unwrap_or_default();
        let failed = row.state == TaskState::Failed;
        let undone = key.strip_suffix(".compensate").and_then(|undone| undone.rsplit('.').next());
        let found = match undone.and_then(|id| flow.task(id)?.compensate.clone()) {
            Some(work) => stub(&Kind::Work(work), key, failed),
            None => flow.task(id).and_then(|task| stub(&task.kind, key, failed)),
        };
        tasks.extend(found.map(|stub| (key.clone(), stub)));
    }
    let stubs = Stubs::parse(&json!({ "tasks": tasks }).to_string()).expect("stubs");
    let plan = workflow::compile(&flow.to_string()).expect("a workflow");
    let given = INPUTS.iter().filter(|name| plan.inputs.iter().any(|(known, _)| known == *name));
    let given = given.map(|name| ((*name).to_owned(), input(name))).collect();
    let inputs = workflow::check_inputs(&plan, given).expect("inputs");
    let played = simulate(&plan, inputs, &stubs, None);
    let mut found = Vec::new();
    if played.status != Some(real.state) {
        found.push(format!("the session is {}, played {:?}", real.state, played.status));
    }
    if played.outputs != real.outputs && played.error.is_none() {
        found.push(format!("outputs {:?}, played {:?}", real.outputs, played.outputs));
    }
    let steps: BTreeMap<&str, _> =
        played.steps.iter().map(|step| (step.task.as_str(), (step.status, step.reason))).collect();
    for (key, row) in &real.rows {
        let is = Some((row.state, row.reason));
        if steps.get(key.as_str()).copied() != is {
            found.push(format!("{key} is {is:?}, played {:?}", steps.get(key.as_str())));
        }
    }
    found.extend(
        steps.keys().filter(|key| !real.rows.contains_key(**key)).map(|key| format!("+{key}")),
    );
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn random_workflows_end_as_they_were_played() {
    let lane = Lane::new().await;
    let known = |flow: &Flow| {
        // What is cut off depends on who is faster.
        let has_child = flow.all_tasks().iter().any(|task| matches!(task.kind, Kind::Child(_)));
        !flow.fail_fast && !has_child
    };
    let seed = std::env::var("JOBSHOP_MODEL_SEED").map_or(SEED, |it| it.parse().expect("a number"));
    let cases = trial::cases(seed).map(|tree| tree.current());
    let flows: Vec<Flow> = cases
        .filter(|flow| known(flow))
        .map(|flow| Flow { steering: Steering::default(), ..flow })
        .take(CASES)
        .collect();
    for (flows, seed) in flows.chunks(BATCH).zip(0..) {
        for (flow, real) in flows.iter().zip(lane.observed(flows, seed).await) {
            let found = differences(flow, &real);
            assert!(found.is_empty(), "{flow}\n{}", found.join("\n"));
        }
    }
}

#[test]
fn a_person_plays_a_workflow_without_a_server() {
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"));
    user.write(
        "ship.yaml",
        "
version: 1
name: ship
inputs: { goal: { required: true } }
tasks:
  plan: { run: ls, estimate: { optimistic: 5m, likely: 10m, pessimistic: 15m } }
  build: { needs: [plan], for_each: [api, web], key: '${{ item }}', tasks: { make: { run: make } } }
  fix: { needs: [plan], when: inputs.goal == 'fix', run: ls }
",
    );
    user.write("stubs.yaml", "tasks: { 'build[*].make': { duration: 1h } }");
    let play = ["simulate", "ship.yaml", "-i", "goal=ship", "--stubs", "stubs.yaml"];
    let told = user.run(&play).expect(1).stdout;
    assert!(told.contains("the session would be: completed"), "{told}");
    assert!(told.contains("it would last: 1h 10m ± 1m 40s (one standard deviation)"), "{told}");
    assert!(told.contains("critical path: plan → build[") && told.contains("].make\n"), "{told}");
    assert!(told.contains("fix never runs: its `when` is false"), "{told}");
    let report = user.run(&[&play[..], &["--workers", "1", "--json"]].concat()).expect(1).json();
    assert_eq!(report["duration_ms"], 7_800_000);
    assert_eq!(report["never_runs"][0]["task"], "fix");
    user.write("stubs.yaml", "tasks: {}\nexpect_skipped: [fix]\n");
    user.run(&play).expect(0);
    user.run(&["simulate", "ship.yaml"]).expect(2);
    user.write("stubs.yaml", "tasks: { plan: { outptus: {} } }");
    let told = user.run(&play).expect(2).stderr;
    assert!(told.contains("stubs.yaml: the stub of `plan`: unknown field `outptus`"), "{told}");
}
