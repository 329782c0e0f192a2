//! What is accepted, and the plan that comes of it.

use std::collections::BTreeMap;

use serde_json::json;

use super::accepted;
use crate::{
    plan::{Kind, NodeIndex, Plan, WorkspaceMode},
    priority::Priority,
    workflow::{check_inputs, input_from_text, json_schema},
};

fn node<'p>(plan: &'p Plan, id: &str) -> &'p crate::plan::Node {
    plan.nodes.iter().find(|node| node.id == id).unwrap()
}

const EVERYTHING: &str = r#"
version: 1
name: everything
x-free: { any: [thing] }
x-retry: &retry { max_attempts: 5, jitter: 0 }
description: All that the language has.
type: review
priority: high
timeout: 8h
fail_fast: true
inputs:
  goal: { type: string, required: true, description: What to do, x-note: free }
  repo: { type: string, default: "." }
  count: { type: integer, default: 3 }
  ratio: { type: number }
  dry: { type: boolean, default: false }
  parts: { type: array, default: [a, b] }
  options: { type: object, default: { a: 1 } }
  level: { type: string, enum: [low, high], default: low }
env: { CI: "true", GOAL: "${{ inputs.goal }}", VERSION: 1.10, NONE: , LIST: [a], x-free: 1 }
workspace: { repo: "${{ inputs.repo }}", base: main }
defaults:
  timeout: 30m
  retry: *retry
tasks:
  plan:
    title: Plan it
    requires: [planning, rust]
    when: inputs.count > 0 and not inputs.dry
    run: |
      set -e
      ./plan.sh
    outputs: { type: object, required: [parts] }
  wait: { sleep: 90s, needs: [plan] }
  nap: { sleep: "${{ inputs.count }}s" }
  truth: { run: true }
  argv: { run: [sleep, 1], retry: { <<: *retry, max_attempts: 2 } }
  x-ray: { uses: builtin/noop }
  broken:
    uses: builtin/fail
    with: { message: "no ${{ inputs.goal }}" }
    continue_on_failure: true
    timeout: 1m
  build:
    needs: [plan, wait]
    when: ${{ tasks.plan.status == 'completed' }}
    for_each: ${{ tasks.plan.outputs.parts }}
    as: part
    key: ${{ part.name }}
    max_parallel: 6
    requires: [linux]
    priority: low
    timeout: 1h
    env: { PART: "${{ part.name }}", CI: no }
    workspace: { base: "${{ inputs.level }}" }
    tasks:
      implement:
        requires: [code_generation]
        agent: { runtime: command, command: [agent, --print], prompt: "Do ${{ part.name }} of ${{ inputs.goal }}", model: m }
      check:
        needs: [implement]
        join: all_done
        heartbeat: 1m
        run: [cargo, test]
        env: { C: "${{ tasks.implement.outputs.commit }} ${{ needs.implement.status }} ${{ tasks.plan.status }}" }
        idempotency_key: "k-${{ part.name }}"
      sub:
        needs: [check]
        tasks:
          deep: { run: ls, env: { A: "${{ tasks.check.status }}" } }
  merge:
    needs: [build]
    uses: builtin/merge
    with: { into: "result/${{ session.id }}" }
  play:
    needs: [merge]
    agent: { runtime: scripted, script: agents/x.yaml }
    workspace: { repo: /other }
  ship:
    needs: [merge, build, x-ray]
    run: ./land.sh
    workspace: { mode: empty }
    env:
      DONE: "${{ tasks.build.completed | length }}"
      FIRST: ${{ tasks.build.items.first.check.outputs.exit_code }}
      SECOND: ${{ tasks.build.items['a.b'].sub.tasks.deep.status }}
      DYNAMIC: ${{ tasks.build.items[inputs.level].check.status }}
      RAY: ${{ tasks['x-ray'].status }}
      WHO: ${{ workflow.name }} ${{ workflow.version }} ${{ session.title }} ${{ session.retry }}
      EACH: ${{ range(3) | map('string') | join(',') }}
outputs:
  parts: ${{ tasks.plan.outputs.parts }}
  all: { done: "${{ tasks.build.completed }}", n: 1 }
"#;

#[test]
fn everything_in_the_language_compiles() {
    let plan = accepted(EVERYTHING);
    let at = |id: &str| {
        NodeIndex(u32::try_from(plan.nodes.iter().position(|n| n.id == id).unwrap()).unwrap())
    };
    let env: BTreeMap<_, _> = plan.environment(at("implement")).into_iter().collect();
    assert_eq!(*env["VERSION"], json!("1.10"));
    assert_eq!(*env["CI"], json!("no"));
    assert_eq!(*env["NONE"], json!(null));
    assert_eq!(*env["LIST"], json!(["a"]));
    assert!(!env.contains_key("x-free"));
    let names: Vec<&str> =
        plan.environment(at("check")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CI", "GOAL", "VERSION", "NONE", "LIST", "PART", "C"]);
    assert_eq!(node(&plan, "implement").requires, ["code_generation", "linux"]);
    assert_eq!(node(&plan, "implement").priority, Some(Priority::Low));
    assert_eq!(node(&plan, "plan").retry.max_attempts, 5);
    assert_eq!(node(&plan, "argv").retry.max_attempts, 2);
    assert!(node(&plan, "argv").retry.jitter.abs() < f64::EPSILON);
    assert_eq!(node(&plan, "wait").retry.max_attempts, 1);
    assert_eq!(node(&plan, "broken").timeout.unwrap().ms, 60_000);
    assert_eq!(node(&plan, "plan").timeout.unwrap().ms, 30 * 60_000);
    assert_eq!(node(&plan, "wait").timeout, None);
    let workspace = node(&plan, "implement").workspace.clone().unwrap();
    assert_eq!(workspace.repo.as_deref(), Some("${{ inputs.repo }}"));
    assert_eq!(workspace.base.as_deref(), Some("${{ inputs.level }}"));
    let other = node(&plan, "play").workspace.clone().unwrap();
    assert_eq!((other.repo.as_deref(), other.base), (Some("/other"), None));
    assert_eq!(node(&plan, "ship").workspace.clone().unwrap().mode, WorkspaceMode::Empty);
    assert!(
        matches!(&node(&plan, "truth").kind, Kind::Run(crate::plan::Command::Script(s)) if s == "true")
    );
}

#[test]
fn blocks_positions_and_references_are_those_of_the_text() {
    let plan = accepted(EVERYTHING);
    let index = |id: &str| {
        let at = plan.nodes.iter().position(|node| node.id == id).unwrap();
        NodeIndex(u32::try_from(at).unwrap())
    };
    assert_eq!(plan.blocks.len(), 2);
    let positions: Vec<(&str, i32)> = plan.blocks[1]
        .nodes
        .iter()
        .map(|n| (plan.node(*n).id.as_str(), plan.node(*n).position))
        .collect();
    assert_eq!(positions, [("implement", 1), ("check", 2), ("sub", 3), ("deep", 4)]);
    assert_eq!(plan.blocks[1].rows(), 5);
    assert_eq!(node(&plan, "merge").position, 8);
    let build = node(&plan, "build");
    assert_eq!(build.references.tasks, [index("plan")]);
    assert!(!build.references.item);
    let check = node(&plan, "check");
    // Its own and inherited templates, and the commits that its needs and those of its group may bring.
    assert_eq!(check.references.tasks, [index("plan"), index("wait"), index("implement")]);
    assert!(check.references.item);
    assert_eq!(node(&plan, "merge").references.items, [index("build")]);
    let ship = node(&plan, "ship");
    assert_eq!(ship.references.items, [index("build")]);
    assert_eq!(ship.references.lists, []);
    assert_eq!(ship.references.tasks, [index("x-ray")]);
    assert_eq!(plan.output_references.lists, [index("build")]);
    assert_eq!(plan.output_references.tasks, [index("plan")]);
    assert_eq!(node(&plan, "plan").dependents, [index("wait"), index("build")]);
}

#[test]
fn a_plan_survives_being_stored() {
    let plan = accepted(EVERYTHING);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn inputs_are_checked_and_completed() {
    let plan = accepted(EVERYTHING);
    let given = |value: serde_json::Value| value.as_object().unwrap().clone();
    let inputs = check_inputs(&plan, given(json!({ "goal": "g", "count": null }))).unwrap();
    assert_eq!(inputs["count"], json!(3));
    assert_eq!(inputs["ratio"], json!(null));
    assert_eq!(inputs["parts"], json!(["a", "b"]));
    let refused = check_inputs(
        &plan,
        given(json!({ "gaol": 1, "count": 1.5, "dry": "no", "level": "mid", "zzz": 1 })),
    );
    insta::assert_snapshot!(refused.unwrap_err().join("\n"), @r#"
    there is no input `gaol`: did you mean `goal`?
    there is no input `zzz`: its inputs are goal, repo, count, ratio, dry, parts, options, level
    the input `goal` is required: What to do
    the input `count` must be integer, not a number
    the input `dry` must be boolean, not text
    the input `level` must be one of "low", "high", not "mid"
    "#);
    assert_eq!(input_from_text(&plan, "goal", "7").unwrap(), json!("7"));
    assert_eq!(input_from_text(&plan, "count", "7").unwrap(), json!(7));
    assert_eq!(input_from_text(&plan, "parts", "[1]").unwrap(), json!([1]));
    insta::assert_snapshot!(input_from_text(&plan, "count", "seven").unwrap_err(), @"the input `count` must be integer as JSON: expected value at line 1 column 1");
    assert_eq!(input_from_text(&plan, "count", "18446744073709551615").unwrap(), json!(u64::MAX));
    assert_eq!(input_from_text(&plan, "count", "7.0").unwrap(), json!(7.0));
    insta::assert_snapshot!(input_from_text(&plan, "count", "12345678901234567890123").unwrap_err(), @"the input `count` has more digits than a number keeps: make it a string");
    insta::assert_snapshot!(input_from_text(&plan, "dry", "1").unwrap_err(), @"the input `dry` must be boolean, not a number");
    insta::assert_snapshot!(input_from_text(&plan, "cuont", "1").unwrap_err(), @"there is no input `cuont`: did you mean `count`?");
}

#[test]
fn the_schema_accepts_what_the_language_accepts_and_knows_its_keys() {
    let schema = json_schema();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let value = |yaml: &str| -> serde_json::Value { serde_saphyr::from_str(yaml).unwrap() };
    let everything = value(EVERYTHING);
    let errors: Vec<String> =
        validator.iter_errors(&everything).map(|e| format!("{} {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for wrong in [
        "version: 1\nname: x\ntasks: { a: { run: ls, retrys: 3 } }",
        "version: 1\nname: x\njobs: {}\ntasks: { a: { run: ls } }",
        "version: 2\nname: x\ntasks: { a: { run: ls } }",
        "version: 1\nname: X\ntasks: { a: { run: ls } }",
        "version: 1\nname: x\ntasks: { a: { run: ls, sleep: 1s } }",
        "version: 1\nname: x\ntasks: { a: { title: x } }",
        "version: 1\nname: x\ntasks: { a: { sleep: 1s, timeout: 5 } }",
        "version: 1\nname: x\ntasks: { A: { run: ls } }",
        "version: 1\nname: x\ntasks: { a: { run: ls, needs: b } }",
        "version: 1\nname: x\ntasks: { a: { agent: { runtime: claude } } }",
        "version: 1\nname: x\ntasks: { a: { run: ls, title: } }",
        "version: 1\nname: x\ntasks: {}",
    ] {
        assert!(!validator.is_valid(&value(wrong)), "{wrong}");
        assert!(crate::workflow::compile(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn shipped_workflows_compile_and_match_the_schema() {
    let schema = json_schema();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for yaml in [
        include_str!("../../../../workflows/hello.yaml"),
        include_str!("../../../../workflows/coding-batch.yaml"),
        include_str!("../../../../workflows/self-check.yaml"),
    ] {
        accepted(yaml);
        let value: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
