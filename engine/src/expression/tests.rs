//! Expressions by example: what they give, what they cost, and how they fail.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Scope, condition, render, render_text, render_value, to_text};
use crate::outcome::ErrorClass;

fn scope() -> Scope {
    let mut scope = Scope::default();
    scope.set_json(
        "inputs",
        &json!({ "goal": "Ship it", "n": 3, "none": null, "list": ["a", "b"] }),
    );
    scope.set_json(
        "tasks",
        &json!({ "my-task": { "outputs": { "ok": true, "map": { "z": 1, "a": [1.5, "x'<y"] } } } }),
    );
    scope
}

#[test]
fn a_lone_expression_keeps_its_type() {
    for (source, expected) in [
        ("plain", json!("plain")),
        ("${{ inputs.n }}", json!(3)),
        ("${{ inputs.none }}", json!(null)),
        ("${{ inputs.list }}", json!(["a", "b"])),
        ("${{ inputs.list }}\n", json!(["a", "b"])),
        (" ${{ inputs.n }}", json!(" 3")),
        ("${{ inputs.n }}${{ inputs.n }}", json!("33")),
        (
            "${{ tasks['my-task'].outputs }}",
            json!({ "ok": true, "map": { "z": 1, "a": [1.5, "x'<y"] } }),
        ),
        ("${{ inputs.n + 1 }}", json!(4)),
        ("${{ inputs.n / 2 }}", json!(1.5)),
        ("${{ inputs.n == 3 and not false }}", json!(true)),
        ("${{ inputs.missing | default('d') }}", json!("d")),
        ("${{ inputs.missing is defined }}", json!(false)),
        ("${{ inputs.list | length }}", json!(2)),
        ("${{ inputs.list | map('upper') | join('-') }}", json!("A-B")),
        ("${{ inputs.list[0] }}", json!("a")),
        ("${{ inputs.list[-1] }}", json!("b")),
        ("${{ inputs.goal | lower | replace(' ', '_') }}", json!("ship_it")),
        ("${{ 'yes' if inputs.n > 2 else 'no' }}", json!("yes")),
        ("${{ {'a': inputs.n, 'b': [true, none]} }}", json!({ "a": 3, "b": [true, null] })),
        ("${{ range(3) | list }}", json!([0, 1, 2])),
        ("${{ 18446744073709551615 }}", json!(18_446_744_073_709_551_615_u64)),
        ("${{ '${{ }}' }}", json!("${{ }}")),
    ] {
        assert_eq!(render(source, &scope()).unwrap(), expected, "{source}");
    }
}

#[test]
fn values_become_text_by_one_rule() {
    for (value, expected) in [
        (json!("as it is"), "as it is"),
        (json!(null), ""),
        (json!(true), "true"),
        (json!(false), "false"),
        (json!(7), "7"),
        (json!(-0.5), "-0.5"),
        (json!(1.0), "1.0"),
        (json!(["a", 1, null]), r#"["a",1,null]"#),
        (json!({ "b": 1, "a": "é'<" }), r#"{"b":1,"a":"é'<"}"#),
    ] {
        let mut scope = Scope::default();
        scope.set_json("x", &value);
        assert_eq!(to_text(&value), expected);
        assert_eq!(render_text("<${{ x }}>", &scope).unwrap(), format!("<{expected}>"));
        assert_eq!(render_text("${{ x }}", &scope).unwrap(), expected);
        assert_eq!(render_text("${{ x | string }}", &scope).unwrap(), expected);
        assert_eq!(render_text("${{ [x] | join }}", &scope).unwrap(), expected);
        let json = render_text("${{ x | tojson }}", &scope).unwrap();
        assert_eq!(json, value.to_string());
    }
}

#[test]
fn values_are_rendered_all_the_way_down() {
    let value = json!({ "a": ["${{ inputs.n }}", "n=${{ inputs.n }}"], "${{ b }}": 1 });
    let rendered = render_value(&value, &scope()).unwrap();
    assert_eq!(rendered, json!({ "a": [3, "n=3"], "${{ b }}": 1 }));
}

#[test]
fn conditions_are_bare_or_in_braces_and_boolean() {
    for (source, expected) in [
        ("inputs.n > 2", true),
        ("${{ inputs.n > 2 }}", true),
        ("  ${{ not true }}\n", false),
        ("'a' in inputs.list", true),
        ("tasks['my-task'].outputs.ok", true),
    ] {
        assert_eq!(condition(source, &scope()).unwrap(), expected, "{source}");
    }
    for (source, message) in [
        ("inputs.n", "`inputs.n` must give true or false, not a number"),
        ("'true'", "`'true'` must give true or false, not text"),
        ("${{ inputs.none }}", "`inputs.none` must give true or false, not null"),
        ("inputs.list", "`inputs.list` must give true or false, not a list"),
        ("inputs.gone", "`inputs.gone` is undefined"),
    ] {
        let failure = condition(source, &scope()).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Template, message));
    }
}

#[test]
fn failures_name_what_is_missing() {
    for (source, message) in [
        ("${{ nope }}", "`nope` is undefined"),
        ("a ${{ inputs.nope }} b", "`inputs.nope` is undefined"),
        ("${{ inputs.nope.deeper }}", "`inputs.nope` is undefined"),
        ("${{ tasks['my-task'].outputs.map.q }}", "`tasks['my-task'].outputs.map.q` is undefined"),
        ("${{ inputs.list[7] }}", "`inputs.list['7']` is undefined"),
        ("${{ inputs[inputs.goal] }}", "something in `inputs[inputs.goal]` is undefined"),
        ("${{ [inputs.nope] }}", "`inputs.nope` is undefined"),
        ("${{ inputs.nope | join(',') }}", "`inputs.nope` is undefined"),
        ("${{ inputs.n | nofilter }}", "`inputs.n | nofilter`: filter nofilter is unknown"),
        (
            "${{ inputs.goal + 1 }}",
            "`inputs.goal + 1`: tried to use + operator on unsupported types string and number",
        ),
        ("${{ inputs.n ", "`${{ inputs.n ` has no closing `}}`"),
        ("${{ 1 / 0 }}", "`1 / 0`: unable to calculate 1 / 0"),
    ] {
        let failure = render(source, &scope()).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Template, message));
    }
}

#[test]
fn nothing_runs_away() {
    let large = "${{ 'x' * 90000000 }}";
    assert_eq!(render(large, &scope()).unwrap_err().class, ErrorClass::TooLarge);
    for source in [
        "${{ 'x' * 1000000000 }}",
        "${{ range(100000000) | list }}",
        "${{ ([range(100000)] * 100000) | map('sum') | list }}",
        "${{ [1] * 100000000 | sum }}",
        "${{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}",
        "${{ range(100000) | join('x' * 1000000) }}",
        "${{ 'a' | indent(1000000000000000) }}",
        "${{ 'a' | indent(width=1000000000000000) }}",
        "${{ '%01000000000000000d' | format(1) }}",
        "${{ '%*d' | format(1000000000000000, 1) }}",
        "${{ [1] | batch(1000000000000000, 'x') }}",
        "${{ [1] | slice(1000000000000000) }}",
        "${{ 9 ** 9 ** 9 ** 9 }}",
        &format!("${{{{ {} }}}}", ["2"; 10].join("*")),
        &format!("${{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        &format!("${{{{ {}1{} }}}}", "(".repeat(150), ")".repeat(150)),
        &format!("${{{{ {}1 }}}}", "-".repeat(5000)),
        &format!("${{{{ {} }}}}", "1 + ".repeat(5000)),
        &format!("${{{{ {} }}}}", "1 + ".repeat(300)),
    ] {
        let failure = render(source, &scope()).unwrap_err();
        assert!(matches!(failure.class, ErrorClass::Template | ErrorClass::TooLarge), "{source}");
        assert!(failure.message.len() < 400, "{}", failure.message);
    }
}

#[test]
fn the_deepest_expressions_fit_on_a_small_stack() {
    let deepest = [
        format!("{}1", "-".repeat(299)),
        format!("{}true", "not ".repeat(299)),
        format!("1{}", " + 1".repeat(299)),
        format!("1{}", " | string".repeat(299)),
        format!("1{}", " if 1 else 1".repeat(149)),
        format!("inputs{}", ".x".repeat(299)),
        format!("1{}", " ** 1".repeat(4)),
        format!("{}1{}", "[".repeat(140), "]".repeat(140)),
        format!("{}1{}", "(".repeat(140), ")".repeat(140)),
    ];
    for source in deepest {
        let _ = render(&format!("${{{{ {source} }}}}"), &scope());
    }
}

#[test]
fn nothing_outside_can_be_reached() {
    for source in ["${{ debug() }}", "${{ include('x') }}", "${{ namespace() }}", "${{ self }}"] {
        assert!(render(source, &scope()).is_err(), "{source}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_passes_through_an_expression_unchanged(value in any_json()) {
        let mut scope = Scope::default();
        scope.set_json("x", &value);
        prop_assert_eq!(render("${{ x }}", &scope).unwrap(), value);
    }

    #[test]
    fn any_expression_ends_without_a_panic(source in "[a-z0-9_.|'\"\\[\\](){}+*%~=<>!, -]{0,80}") {
        let _ = render(&format!("${{{{ {source} }}}}"), &scope());
        let _ = condition(&source, &scope());
    }

    #[test]
    fn any_text_is_a_template_or_a_failure(source in ".{0,120}") {
        let _ = render(&source, &scope());
    }
}
