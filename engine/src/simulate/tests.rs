//! Whole simulations by example.

use serde_json::{Map, Value, json};

use super::{Report, Stubs, simulate};
use crate::{session::SessionState, task::TaskState, workflow};

fn play(yaml: &str, stubs: &str, workers: Option<usize>) -> Report {
    let plan = workflow::compile(yaml).unwrap_or_else(|problems| panic!("{problems:?}"));
    let inputs = workflow::check_inputs(&plan, Map::new()).expect("no inputs are needed");
    simulate(&plan, inputs, &Stubs::parse(stubs).expect("stubs"), workers)
}

fn status(report: &Report, key: &str) -> TaskState {
    let step = report.steps.iter().find(|step| step.task == key);
    step.unwrap_or_else(|| panic!("no {key}: {report:#?}")).status
}

const BATCH: &str = "
version: 1
name: batch
tasks:
  plan:
    run: ./plan.sh
    estimate: { optimistic: 1m, likely: 2m, pessimistic: 9m }
    outputs: { type: object, required: [parts], properties: { parts: { type: array } } }
  build:
    needs: [plan]
    for_each: ${{ tasks.plan.outputs.parts }}
    key: ${{ item }}
    tasks:
      make: { run: make, retry: { max_attempts: 3, initial: 10s, jitter: 0 } }
      check: { needs: [make], run: make check }
  ask: { needs: [build], approval: {} }
  land: { needs: [ask], run: ./land.sh }
outputs: { done: \"${{ tasks.build.completed }}\" }
";

const STUBS: &str = "
tasks:
  plan: { outputs: { parts: [a, b] } }
  'build[b].make': { duration: 30s, failures: [error, timeout] }
  'build[*].*': { duration: 20s }
  ask: { duration: 1h, decision: approve, by: anna }
";

#[test]
fn a_batch_goes_its_way_on_a_clock_that_jumps() {
    let report = play(BATCH, STUBS, None);
    assert_eq!(report.status, Some(SessionState::Completed), "{report:#?}");
    assert_eq!(report.outputs, Some(json!({ "done": ["a", "b"] })));
    // Three minutes of planning; 30 s, 10 s, 30 s, 20 s, 30 s, then a check; an hour.
    let expected = 180_000 + 120_000 + 20_000 + 3_600_000;
    assert_eq!(report.duration_ms, expected);
    assert_eq!(report.deviation_ms, 80_000);
    assert_eq!(report.critical_path, ["plan", "build[b].make", "build[b].check", "ask", "land"]);
    assert_eq!(report.unestimated, ["land"]);
    assert!(report.never_runs.is_empty() && report.unused_stubs.is_empty(), "{report:#?}");
    let make = report.steps.iter().find(|step| step.task == "build[b].make").unwrap();
    assert_eq!((make.attempts, make.finished_ms), (3, Some(300_000)));
}

#[test]
fn few_workers_make_it_longer_and_the_path_goes_through_those_who_had_them() {
    let yaml = "
version: 1
name: wide
tasks:
  each: { for_each: [1, 2, 3, 4], tasks: { work: { run: ls } } }
";
    let stubs = "tasks: { 'each[*].work': { duration: 1m } }";
    assert_eq!(play(yaml, stubs, None).duration_ms, 60_000);
    let two = play(yaml, stubs, Some(2));
    assert_eq!(two.duration_ms, 120_000);
    assert_eq!(two.critical_path.len(), 2, "{two:#?}");
}

#[test]
fn what_can_never_run_is_named_unless_it_is_expected() {
    let yaml = "
version: 1
name: branches
tasks:
  a: { run: ls, retry: { max_attempts: 2, initial: 1s } }
  b: { needs: [a], run: ls }
  fix: { needs: [a], join: all_done, when: tasks.a.status == 'failed', run: ls }
  none: { for_each: [], tasks: { x: { run: ls } } }
";
    let good = play(yaml, "", None);
    let named: Vec<&str> = good.never_runs.iter().map(|it| it.task.as_str()).collect();
    assert_eq!(named, ["fix", "none[*].x"]);
    assert_eq!(good.never_runs[0].why, "its `when` is false");
    let expected = play(yaml, "expect_skipped: [fix, 'none*']", None);
    assert!(expected.never_runs.is_empty());
    let bad = play(yaml, "tasks: { a: { failures: always }, typo: {} }", None);
    assert_eq!(bad.status, Some(SessionState::Failed));
    assert_eq!(
        (status(&bad, "fix"), status(&bad, "b")),
        (TaskState::Completed, TaskState::Skipped)
    );
    assert_eq!(bad.never_runs[0].why, "something it needs ends badly");
    assert_eq!(bad.unused_stubs, ["typo"]);
}

#[test]
fn people_signals_loops_and_what_follows_the_result_are_played() {
    let yaml = "
version: 1
name: whole
tasks:
  fix:
    loop: { until: tasks.fix.tasks.try.outputs.good, max_rounds: 4 }
    tasks:
      try: { run: ls, outputs: { properties: { good: { type: boolean } } } }
  go: { needs: [fix], wait_for: go, timeout: 1h }
  pay: { needs: [go], run: ls, compensate: { run: undo } }
  ask: { needs: [pay], approval: { on_timeout: reject }, timeout: 2h }
finally:
  report: { run: ls, env: { RESULT: '${{ session.status }}' } }
";
    let stubs = "
tasks:
  'fix[1].try': { outputs: { good: false } }
  'fix[2].try': { outputs: { good: true } }
  ask: { decision: none }
signals: { go: { at: 30m } }
";
    let report = play(yaml, stubs, None);
    assert_eq!(report.status, Some(SessionState::Failed));
    assert_eq!(report.duration_ms, 30 * 60_000 + 2 * 3_600_000);
    for key in ["fix", "fix[2].try", "go", "pay", "pay.compensate", "report"] {
        assert_eq!(status(&report, key), TaskState::Completed, "{key}");
    }
    assert_eq!(status(&report, "ask"), TaskState::Failed);
    let waits = play(yaml, "tasks: { go: { never: true } }", None);
    assert_eq!(status(&waits, "go"), TaskState::Failed, "after its hour");
    let for_ever =
        "version: 1\nname: w\ntasks: { a: { wait_for: x }, b: { needs: [a], run: ls } }\n";
    let stuck = play(for_ever, "tasks: { a: { never: true } }", None);
    assert_eq!((stuck.status, stuck.waits_for_ever.as_slice()), (None, &["a".to_owned()][..]));
    assert_eq!(stuck.never_runs[0].task, "b");
}

#[test]
fn limits_end_what_takes_too_long() {
    let yaml = "
version: 1
name: limited
timeout: 10m
tasks:
  slow: { run: ls, timeout: 1m, continue_on_failure: true }
  group: { timeout: 5m, continue_on_failure: true, tasks: { x: { run: ls }, y: { needs: [x], run: ls } } }
  late: { needs: [slow], run: ls }
";
    let stubs = "tasks: { slow: { duration: 2m }, '*x': { duration: 6m }, late: { duration: 1h } }";
    let report = play(yaml, stubs, None);
    assert_eq!(report.status, Some(SessionState::Timeout));
    assert_eq!(report.duration_ms, 600_000);
    assert_eq!(
        (status(&report, "slow"), status(&report, "group")),
        (TaskState::Failed, TaskState::Failed)
    );
    assert_eq!(
        (status(&report, "group.x"), status(&report, "late")),
        (TaskState::Cancelled, TaskState::Cancelled)
    );
}

#[test]
fn a_template_that_fails_and_a_schema_that_does_not_fit_fail_the_task() {
    let yaml = "
version: 1
name: wrong
tasks:
  a: { run: ls, outputs: { properties: { n: { type: integer } } }, continue_on_failure: true }
  b: { needs: [a], run: ls, env: { N: '${{ tasks.a.outputs.n }}' } }
  c: { run: ls, outputs: { properties: { n: { type: integer } } } }
";
    let stubs = "tasks: { a: { failures: always }, c: { outputs: { n: text } } }";
    let report = play(yaml, stubs, None);
    let class = |key: &str| {
        let step = report.steps.iter().find(|step| step.task == key).unwrap();
        Value::from(step.error.as_ref().unwrap().class.as_str())
    };
    assert_eq!((class("b"), class("c")), (json!("template"), json!("schema")));
}

#[test]
fn what_happens_in_one_moment_stands_in_the_order_of_cause_and_effect() {
    let stubs = "tasks: { plan: { duration: 0s, outputs: { parts: [a, b, c] } } }";
    let report = play(
        &BATCH.replace("1m, likely: 2m, pessimistic: 9m", "0s, likely: 0s, pessimistic: 0s"),
        stubs,
        None,
    );
    assert_eq!(report.duration_ms, 0, "{report:#?}");
    let place = |key: &str| report.steps.iter().position(|step| step.task == key);
    for step in &report.steps {
        for before in step.waited_for.iter().filter(|key| !step.task.starts_with(*key)) {
            assert!(place(before) < place(&step.task), "{before} and {}: {report:#?}", step.task);
        }
    }
    assert_eq!(place("land"), Some(report.steps.len() - 1));
}

#[test]
fn items_that_take_locks_are_played() {
    let yaml = "
version: 1
name: locked
tasks:
  each:
    lock: [one]
    for_each: [a, b]
    tasks:
      first: { run: a }
      then: { needs: [first], run: b }
";
    let report = play(yaml, "", None);
    assert_eq!(report.status, Some(SessionState::Completed), "{report:#?}");
    assert_eq!(status(&report, "each[1].then"), TaskState::Completed);
}
