//! How much a definition may hold.

use crate::workflow::{Limits, compile_within};

#[test]
fn limits_are_kept() {
    let text = |yaml: &str, limits: &Limits| {
        let problems = compile_within(yaml, limits).unwrap_err();
        problems.iter().map(super::shown).collect::<Vec<_>>().join("\n")
    };
    let usual = Limits::default();
    let tasks: Vec<String> = (0..10_001).map(|n| format!("  t{n}: {{ sleep: 1s }}")).collect();
    let tasks = tasks.join("\n");
    insta::assert_snapshot!(text(&format!("version: 1\nname: x\ntasks:\n{tasks}"), &usual), @"10004:3 more than 10000 tasks");
    insta::assert_snapshot!(text(&"x".repeat(1024 * 1024 + 1), &usual), @"1:1 the text is larger than 1048576 bytes");
    insta::assert_snapshot!(text(&format!("x-a: {}", "[".repeat(100_000)), &usual), @"1:261 nested deeper than 32 levels");
    let depth = |levels: usize| {
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!("version: 1\nname: x\nx-a: {nested}\ntasks: {{ a: {{ run: ls }} }}\n")
    };
    assert!(compile_within(&depth(31), &usual).is_ok());
    insta::assert_snapshot!(text(&depth(32), &usual), @"3:37 nested deeper than 32 levels");
    let aliases = format!("x-a: &a 1\nx-b: [{}]\n", vec!["*a"; 201].join(", "));
    insta::assert_snapshot!(text(&aliases, &usual), @"2:807 more than 200 aliases");
    let laughs = "
x-a: &a [x, x, x, x, x, x, x, x, x, x]
x-b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
x-c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
x-d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
x-e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
";
    insta::assert_snapshot!(text(laughs, &usual), @"6:38 more than 100000 values, aliases counted as what they stand for");
}
