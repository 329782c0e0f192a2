//! Plans: what is read, what is refused where, and what they come to.

use serde_json::{Value, json};

use super::*;
use crate::{
    plan::{AgentLimits, AgentRuntime, AgentSpec, Decompose, PlanSource},
    routing::CAPABILITIES,
};

fn refused(plan: &Value) -> String {
    let faults = read(plan, "a goal", 2).unwrap_err().0;
    let lines = faults.iter().map(|fault| format!("{}: {}", fault.place, fault.message));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_that_is_wrong_with_a_plan_is_told_with_its_place() {
    let plan = json!({
        "subtask": 1,
        "subtasks": [
            { "id": "a", "prompt": "x", "needs": ["a", "c", { "task": "b", "type": "later" }] },
            { "id": "b", "needs": ["aa"], "paths": ["/etc"], "estimate": { "likely": "2h" } },
            { "id": "b", "prompt": 7, "requires": "rust" },
            { "id": "Big One", "prompt": " ", "estimate": -1 },
            "do it",
            { "id": "d", "subtasks": [{ "id": "e", "subtasks": [{ "id": "f", "prompt": "x" }] }] },
        ],
    });
    insta::assert_snapshot!(refused(&plan));
    insta::assert_snapshot!(refused(&json!([1])), @"plan: must be a map, not a list");
    insta::assert_snapshot!(refused(&json!({ "subtasks": [] })), @"subtasks: is an empty list: a plan needs at least one");
}

#[test]
fn what_waits_for_itself_is_refused_in_any_mixture_of_dependencies() {
    let need = |task: &str, kind: &str| json!({ "task": task, "type": kind });
    let plan = |a: Value, b: Value| {
        json!({ "subtasks": [
            { "id": "a", "prompt": "x", "needs": [a] },
            { "id": "b", "prompt": "x", "needs": [b] },
        ] })
    };
    for (first, second, can_be) in [
        ("finish_to_start", "finish_to_start", false),
        ("finish_to_start", "start_to_start", false),
        ("finish_to_start", "finish_to_finish", false),
        ("finish_to_start", "start_to_finish", false),
        ("start_to_start", "start_to_start", false),
        ("start_to_start", "finish_to_finish", true),
        ("finish_to_finish", "finish_to_finish", false),
        ("start_to_finish", "start_to_finish", true),
    ] {
        let plan = plan(need("b", first), need("a", second));
        assert_eq!(read(&plan, "a goal", 1).is_ok(), can_be, "{first} {second}");
    }
}

#[test]
fn the_critical_path_is_the_longest_in_hours() {
    let plan = json!({ "subtasks": [
        { "id": "long", "prompt": "x", "estimate": 100 },
        { "id": "one", "prompt": "x", "estimate": 1 },
        { "id": "two", "prompt": "x", "needs": ["one"], "estimate": 1 },
        { "id": "three", "prompt": "x", "needs": ["two"], "estimate": 1 },
        { "id": "end", "prompt": "x", "needs": ["long", "three"],
          "estimate": { "optimistic": 1, "likely": 2, "pessimistic": 9 } },
    ] });
    let plan = read(&plan, "a goal", 1).unwrap();
    let all = shown(&plan);
    assert_eq!(all.critical_path, ["long", "end"]);
    assert!((all.expected - 107.17).abs() < 0.01, "{}", all.expected);
    // What is shown can be read again, and says the same.
    assert_eq!(read(&plan.json(), "another", 1).unwrap(), plan);
}

fn how(max_depth: u32) -> Decompose {
    let agent = AgentSpec {
        runtime: AgentRuntime::Opencode,
        prompt: None,
        model: Some("${{ inputs.x }}".to_owned()),
        fallback: Vec::new(),
        command: None,
        script: None,
        continues: None,
        permissions: Vec::new(),
        limits: AgentLimits::default(),
    };
    let source = PlanSource::Template;
    Decompose { source, planner: None, max_depth, approval: None, agent }
}

fn setting(how: &Decompose, has_repo: bool) -> Setting<'_> {
    Setting {
        how,
        has_repo,
        has_base: has_repo,
        setup: &[],
        quota: None,
        env: vec!["CI"],
        requires: &[],
        timeout: None,
        verify: None,
        prefers: None,
    }
}

#[test]
fn every_template_makes_plans_that_can_be_followed() {
    for template in templates() {
        for depth_max in 1..=DEPTH_MAX {
            let text = "Build a backend with authentication, a database and a UI";
            let plan = expand(&Goal { text, hours: None, depth_max }, template);
            let again = read(&plan.json(), text, DEPTH_MAX).unwrap();
            assert_eq!(again, plan, "{}", template.name);
            for leaf in plan.leaves() {
                assert!(leaf.prompt.len() > 200, "{}", leaf.id);
                for name in &leaf.requires {
                    assert!(CAPABILITIES.contains(&name.as_str()), "{name}");
                }
            }
            for has_repo in [false, true] {
                let how = how(depth_max);
                let (text, _) = following(&plan, &setting(&how, has_repo))
                    .unwrap_or_else(|problems| panic!("{}: {problems:?}", template.name));
                assert!(!text.contains("authentication,"), "a goal is no text of the definition");
            }
        }
    }
}

#[test]
fn what_can_be_split_is_by_the_template_that_fits_and_each_once() {
    let text = "An API with login and a database";
    let template = template("web_service@1").unwrap();
    let plan = expand(&Goal { text, hours: None, depth_max: 3 }, template);
    let ids: Vec<&str> = plan.leaves().iter().map(|leaf| leaf.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "requirements",
            "system-design",
            "implementation-design",
            "implementation-implementation",
            "implementation-testing",
            "implementation-audit",
            "testing",
            "deployment",
        ]
    );
    let flat = expand(&Goal { text, hours: None, depth_max: 1 }, template);
    assert_eq!(flat.leaves().len(), 5);
}

#[test]
fn words_are_words() {
    assert_eq!(words::fitting("build it quickly"), None);
    assert_eq!(words::fitting("The UI of orders"), Some("ui_component"));
    assert_eq!(words::fitting("authenticates users, with a database"), Some("security"));
    assert_eq!(words::fitting("two microservices"), Some("microservice"));
    assert_eq!(
        words::capabilities("Review and test the parser"),
        ["test_generation", "code_review"]
    );
    assert_eq!(words::capabilities("Frobnicate"), ["code_generation"]);
    assert_eq!(Hours::around(0.1).complexity(), Complexity::Trivial);
    assert_eq!(Hours::around(24.0), Hours { optimistic: 18.0, likely: 24.0, pessimistic: 36.0 });
    assert!(
        Hours::of_text("Fix a typo").likely < Hours::of_text("Design an API with security").likely
    );
}

#[test]
fn subtasks_with_the_same_files_take_one_lock_and_nothing_else_does() {
    let plan = json!({ "subtasks": [
        { "id": "a", "prompt": "x", "paths": ["src/api"] },
        { "id": "b", "prompt": "x", "paths": ["src/api/users.rs", "docs"] },
        { "id": "c", "prompt": "x", "paths": ["docs/**/*.md"], "needs": ["b"] },
        { "id": "d", "prompt": "x", "paths": ["src/web"] },
        { "id": "e", "prompt": "x" },
    ] });
    let plan = read(&plan, "a goal", 1).unwrap();
    assert_eq!(plan.json()["locks"], json!({ "a": ["a+b"], "b": ["a+b"] }));
    assert_eq!(shown(&plan).critical_path, ["a", "b", "c"]);
}

#[test]
fn a_gate_opens_when_the_other_has_come_so_far_and_not_before() {
    use crate::task::TaskState as S;
    let plan = json!({ "subtasks": [
        { "id": "a", "prompt": "x" },
        { "id": "b", "prompt": "x", "needs": [{ "task": "a", "type": "start_to_start" }] },
        { "id": "c", "prompt": "x", "needs": [{ "task": "b", "type": "finish_to_finish" }] },
    ] });
    let how = how(1);
    let (_, plan) = following(&read(&plan, "a goal", 1).unwrap(), &setting(&how, false)).unwrap();
    let gate = |name: &str| Gate::of(&plan, name).unwrap();
    let id = |gate: Gate| plan.node(gate.node).id.as_str();
    // What waits itself starts with its work, and ends with all of it.
    assert_eq!(id(gate("jobshop/started/b")), "b-work");
    assert_eq!(id(gate("jobshop/ended/b")), "b");
    assert_eq!(Gate::of(&plan, "jobshop/started/nobody"), None);
    assert_eq!(Gate::of(&plan, "deployed"), None);
    let start = gate("jobshop/started/a");
    let end = gate("jobshop/ended/a");
    for (state, is_started, at_start, at_end) in [
        (S::Pending, false, Verdict::Waits, Verdict::Waits),
        (S::Ready, false, Verdict::Waits, Verdict::Waits),
        (S::InProgress, false, Verdict::Waits, Verdict::Waits),
        (S::InProgress, true, Verdict::Passes, Verdict::Waits),
        (S::Blocked, true, Verdict::Passes, Verdict::Waits),
        (S::Completed, true, Verdict::Passes, Verdict::Passes),
        (S::Failed, true, Verdict::Passes, Verdict::InVain),
        (S::Skipped, false, Verdict::InVain, Verdict::InVain),
        (S::Cancelled, false, Verdict::InVain, Verdict::InVain),
    ] {
        let stand = Stand { state, is_started, attempt: 0 };
        assert_eq!(start.verdict(&plan, stand), at_start, "{state}");
        assert_eq!(end.verdict(&plan, stand), at_end, "{state}");
    }
}
