//! Items, graphs, and the shape of any plan.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NodeIndex, Plan, expand, graph};
use crate::{
    expression::values::Values,
    outcome::{ErrorClass, Failure},
    workflow::compile,
};

fn expanded(each: &str, inputs: &Value) -> Result<Vec<(String, Value)>, Failure> {
    let yaml = format!(
        "version: 1\nname: x\ninputs: {{ list: {{ type: array }}, n: {{}} }}\ntasks:\n  g:\n{each}\n    tasks: {{ a: {{ run: ls }} }}\n"
    );
    let plan = compile(&yaml).unwrap();
    let inputs = inputs.as_object().unwrap().clone();
    expand(&plan, NodeIndex(0), &Values { inputs, ..Values::default() })
}

#[test]
fn items_have_keys_and_values() {
    let keys = |each: &str, list: Value| {
        expanded(each, &json!({ "list": list }))
            .map(|items| items.into_iter().map(|(key, _)| key).collect::<Vec<_>>())
    };
    let inputs = "    for_each: ${{ inputs.list }}";
    assert_eq!(keys(inputs, json!(["x", "y"])).unwrap(), ["0", "1"]);
    assert_eq!(keys(inputs, json!([])).unwrap(), [""; 0]);
    let by_item = "    for_each: ${{ inputs.list }}\n    key: ${{ item }}";
    assert_eq!(keys(by_item, json!(["a/b@c:d-e._", 7])).unwrap(), ["a/b@c:d-e._", "7"]);
    let named = "    for_each: ${{ inputs.list }}\n    as: part\n    key: p-${{ part.name }}";
    assert_eq!(keys(named, json!([{ "name": "x" }])).unwrap(), ["p-x"]);
    let literal = "    for_each: [a, '${{ inputs.list[0] }}', 3]";
    let items = expanded(literal, &json!({ "list": [{ "b": 1 }] })).unwrap();
    let values: Vec<Value> = items.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [json!("a"), json!({ "b": 1 }), json!(3)]);
}

#[test]
fn what_cannot_be_items_fails_the_group() {
    let by_item = "    for_each: ${{ inputs.list }}\n    key: ${{ item }}";
    for (list, class, message) in [
        (json!("text"), ErrorClass::Template, "`for_each` must give a list, not text"),
        (json!(null), ErrorClass::Template, "`for_each` must give a list, not null"),
        (json!({ "a": 1 }), ErrorClass::Template, "`for_each` must give a list, not a map"),
        (json!(["a", "a"]), ErrorClass::Error, "duplicate_key: two items have the key `a`"),
        (json!(["1", 1]), ErrorClass::Error, "duplicate_key: two items have the key `1`"),
        (
            json!([true]),
            ErrorClass::Template,
            "the key of item 0 must be text or an integer, not a boolean",
        ),
        (
            json!([1.5]),
            ErrorClass::Template,
            "the key of item 0 must be text or an integer, not a number",
        ),
        (
            json!([""]),
            ErrorClass::Template,
            "`` cannot be the key of item 0: a key has 1 to 128 characters of A-Z a-z 0-9 . _ / @ : -",
        ),
        (
            json!(["a b"]),
            ErrorClass::Template,
            "`a b` cannot be the key of item 0: a key has 1 to 128 characters of A-Z a-z 0-9 . _ / @ : -",
        ),
    ] {
        let failure = expanded(by_item, &json!({ "list": list })).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, message));
    }
    assert!(expanded(by_item, &json!({ "list": ["a".repeat(129)] })).is_err());
    assert!(expanded(by_item, &json!({ "list": ["a".repeat(128)] })).is_ok());
    let many: Vec<i32> = (0..100_001).collect();
    let failure =
        expanded("    for_each: ${{ inputs.list }}", &json!({ "list": many })).unwrap_err();
    assert_eq!(failure.class, ErrorClass::TooLarge);
    let missing =
        expanded("    for_each: ${{ inputs.n.parts }}".replace(".parts", "").as_str(), &json!({}));
    assert_eq!(missing.unwrap_err().message, "`inputs.n` is undefined");
}

const PICTURED: &str = r#"
version: 1
name: pictured
tasks:
  plan: { run: ls, title: Plan "it" }
  build:
    needs: [plan]
    for_each: [1, 2]
    tasks:
      write: { agent: { runtime: scripted, script: x } }
      check: { needs: [write], run: ls, when: "true" }
  nap: { sleep: 5s, needs: [plan] }
  end: { uses: builtin/noop, needs: [build, nap], join: all_done }
"#;

#[test]
fn a_plan_can_be_drawn() {
    let plan = compile(PICTURED).unwrap();
    insta::assert_snapshot!(graph::mermaid(&plan), @r#"
    flowchart TD
      plan["plan<br/>run"]
      subgraph build["build<br/>for each item in list"]
        build.write["write<br/>agent"]
        build.check["check<br/>run<br/>when true"]
      end
      nap["nap<br/>sleep 5s"]
      end_["end<br/>builtin/noop<br/>join all_done"]
      plan --> build
      build.write --> build.check
      plan --> nap
      build --> end_
      nap --> end_
    "#);
    insta::assert_snapshot!(graph::dot(&plan), @r#"
    digraph "pictured" {
      compound=true;
      node [shape=box];
      "plan" [label="plan\nrun"];
      subgraph "cluster_build" {
        label="build\nfor each item in list";
        "build.write" [label="write\nagent"];
        "build.check" [label="check\nrun\nwhen true"];
      }
      "nap" [label="nap\nsleep 5s"];
      "end" [label="end\nbuiltin/noop\njoin all_done"];
      "plan" -> "build.write" [lhead="cluster_build"];
      "build.write" -> "build.check";
      "plan" -> "nap";
      "build.write" -> "end" [ltail="cluster_build"];
      "nap" -> "end";
    }
    "#);
    let json: Value = serde_json::from_str(&graph::json(&plan)).unwrap();
    assert_eq!(json["nodes"][2]["id"], "build.write");
    assert_eq!(json["nodes"][2]["parent"], "build");
    assert_eq!(json["edges"][0], json!({ "from": "plan", "to": "build" }));
}

/// Tasks in groups with needs among siblings, some of them in a circle.
fn workflow_text(needs: &[Vec<usize>], groups: &[bool]) -> String {
    let mut yaml = "version: 1\nname: x\ntasks:\n".to_owned();
    for (index, needs) in needs.iter().enumerate() {
        let ids: Vec<String> = needs.iter().map(|need| format!("t{need}")).collect();
        let kind = if groups[index] {
            format!(
                "tasks: {{ a{index}: {{ run: ls }}, b{index}: {{ run: ls, needs: [a{index}] }} }}"
            )
        } else {
            "run: ls".to_owned()
        };
        let _ = writeln!(yaml, "  t{index}: {{ needs: [{}], {kind} }}", ids.join(", "));
    }
    yaml
}

/// Whether nothing needs itself, by taking away what needs nothing that is left.
fn is_acyclic(needs: &[Vec<usize>]) -> bool {
    let mut left: Vec<usize> = (0..needs.len()).collect();
    loop {
        let before = left.len();
        let now = left.clone();
        left.retain(|task| needs[*task].iter().any(|need| now.contains(need)));
        if left.is_empty() {
            return true;
        }
        if left.len() == before {
            return false;
        }
    }
}

fn check_shape(plan: &Plan) -> Result<(), TestCaseError> {
    for (at, node) in plan.nodes.iter().enumerate() {
        let index = NodeIndex(u32::try_from(at).unwrap());
        for need in &node.needs {
            prop_assert_eq!(plan.node(*need).parent, node.parent);
            prop_assert!(plan.node(*need).dependents.contains(&index));
        }
        for dependent in &node.dependents {
            prop_assert!(plan.node(*dependent).needs.contains(&index));
        }
        let block = plan.block(node.block);
        let first = i32::from(block.owner.is_some());
        prop_assert_eq!(block.nodes[usize::try_from(node.position - first).unwrap()], index);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_graph_compiles_exactly_when_it_has_no_circle(
        raw in prop::collection::vec(prop::collection::btree_set(0_usize..8, 0..3), 1..8),
        groups in prop::collection::vec(any::<bool>(), 8),
    ) {
        let needs: Vec<Vec<usize>> = raw
            .iter()
            .map(|needs| needs.iter().map(|need| need % raw.len()).collect::<std::collections::BTreeSet<_>>().into_iter().collect())
            .collect();
        match compile(&workflow_text(&needs, &groups)) {
            Ok(plan) => {
                prop_assert!(is_acyclic(&needs));
                check_shape(&plan)?;
            }
            Err(problems) => {
                prop_assert!(!is_acyclic(&needs));
                prop_assert!(problems.iter().all(|problem| problem.message.contains("cycle")));
            }
        }
    }
}
