//! Whatever the text is: an answer, never a panic, and every problem inside of the text.

use proptest::prelude::*;

use crate::workflow::compile;

/// Texts that are nearly workflows.
fn near_workflow() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("version: 1\n"),
        Just("name: x\n"),
        Just("tasks:\n"),
        Just("  a: { run: ls }\n"),
        Just("  b:\n    needs: [a]\n    run: ls\n"),
        Just("  g:\n    for_each: [1]\n    tasks:\n      c: { sleep: 1s }\n"),
        Just("    when: tasks.a.status == 'completed'\n"),
        Just("    env: { A: \"${{ tasks.a.outputs.x }}\" }\n"),
        Just("    env: { A: ${{ tasks }} }\n"),
        Just("x-a: &a [1]\n"),
        Just("x-b: *a\n"),
        Just("  <<: *a\n"),
        Just("${{"),
        Just("}}"),
        Just("'"),
        Just("\""),
        Just("- "),
        Just(": "),
        Just("\t"),
        Just("é\u{1F600}"),
        Just("\n"),
        Just("|\n"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn check(yaml: &str) {
    if let Err(problems) = compile(yaml) {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(problem.line >= 1 && problem.line <= yaml.lines().count().max(1) + 1);
            let line = yaml.lines().nth(problem.line - 1).unwrap_or_default();
            assert!(problem.column >= 1 && problem.column <= line.chars().count() + 2);
            problem.render("f.yaml", yaml);
        }
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(yaml in "\\PC{0,200}") {
        check(&yaml);
    }

    #[test]
    fn any_near_workflow_gets_an_answer(yaml in near_workflow()) {
        check(&yaml);
    }

    #[test]
    fn any_expression_gets_an_answer(expression in "[a-z0-9_.|'\"\\[\\](){}+*%~=<>!, é-]{0,60}") {
        let expression = expression.replace('\'', "''");
        check(&format!(
            "version: 1\nname: x\ntasks:\n  a:\n    run: ls\n    when: '{expression}'\n    env: {{ A: '${{{{ {expression} }}}}' }}\n"
        ));
    }
}
