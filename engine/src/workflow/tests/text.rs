//! YAML itself, and templates as text.

use super::{problems, task_problems};

#[test]
fn what_is_not_yaml_is_said_where_it_stops_being_it() {
    insta::assert_snapshot!(problems("version: 1\nname: [x\n"), @"2:7 this is not YAML: unclosed bracket '['");
    insta::assert_snapshot!(problems("version: 1\n\tname: x\n"), @r"
    2:1 this is not YAML: a tab indents this line
         indent with spaces
    ");
    insta::assert_snapshot!(problems("version: 1\nname: x: y\n"), @"2:8 this is not YAML: mapping values are not allowed in this context");
    insta::assert_snapshot!(problems("version: 1\nname: 'x\n"), @"3:1 this is not YAML: invalid indentation in multiline quoted scalar");
    insta::assert_snapshot!(problems("version: 1\nname: *x\ntasks: { a: { run: !shell ls } }\n"), @r"
    2:7 `*x` refers to no anchor above it
         define it with `&x`, or quote text that starts with `*`
    3:27 the tag `!shell` has no meaning here
         remove the tag
    ");
}

#[test]
fn templates_that_need_quotes_are_noticed() {
    insta::assert_snapshot!(task_problems("
tasks:
  a:
    when: {{ inputs.x }}
    run: ls
"), @r#"
    5:11 a template needs quotes here: without them YAML reads `{` as the start of a map
         write "${{ … }}", with the quotes
    "#);
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, env: { A: ${{ inputs.x }} } }
"), @r#"
    4:27 a template needs quotes here: YAML reads some of it as its own signs
         write "${{ … }}", with the quotes
    "#);
    insta::assert_snapshot!(task_problems("
inputs: { x: {} }
tasks:
  a:
    run: ls
    env:
      A: ${{ inputs.x | default('a: b') }}
"), @r#"
    8:10 a template needs quotes here: YAML reads some of it as its own signs
         write "${{ … }}", with the quotes
    "#);
    insta::assert_snapshot!(task_problems("
tasks:
  a:
    needs: [${{ inputs.x }}]
    run: ls
"), @r#"
    5:13 a template needs quotes here: YAML reads some of it as its own signs
         write "${{ … }}", with the quotes
    "#);
}

#[test]
fn nothing_is_interpolated_into_a_command() {
    insta::assert_snapshot!(task_problems("
inputs: { goal: {} }
tasks:
  a: { run: 'echo ${{ inputs.goal }}' }
  b:
    run: |
      set -e
      echo ${{ inputs.goal }}
  c: { run: [echo, '${{ inputs.goal }}'] }
  d: { agent: { runtime: command, command: [x, '${{ inputs.goal }}'], prompt: x } }
"), @r#"
    5:19 `${{ }}` cannot stand in a script
         pass the value through the environment: env: { VALUE: "${{ inputs.goal }}" } and "$VALUE" in the script
    9:12 `${{ }}` cannot stand in a script
         pass the value through the environment: env: { VALUE: "${{ inputs.goal }}" } and "$VALUE" in the script
    10:21 `${{ }}` cannot stand in a command
         pass the value through the environment: env: { VALUE: "${{ inputs.goal }}" } and "$VALUE" in the script
    11:49 `${{ }}` cannot stand in a command
         pass the value through the environment: env: { VALUE: "${{ inputs.goal }}" } and "$VALUE" in the script
    "#);
}

#[test]
fn expressions_are_checked_where_they_stand() {
    insta::assert_snapshot!(task_problems("
inputs: { goal: {} }
tasks:
  a:
    when: inputs.goal ==
    run: ls
    env:
      ONE: ${{ inputs.goal
      TWO: \"a ${{ inputs. }} b\"
      THREE: ${{ inputs.goal && true }}
      FOUR: |
        first
        second ${{ inputs.gaol }} and ${{ inputs.goal }}
        third ${{ nope }}
      FIVE: >
        folded
        text ${{ inputs.gaol }}
      SIX: \"tab\\t${{ inputs.gaol }}\"
  b: { when: 'x ${{ inputs.goal }}', run: ls }
  c: { when: '${{ true }} and ${{ false }}', run: ls }
  d: { for_each: 'a, b', tasks: { x: { run: ls } } }
  e: { for_each: 3, tasks: { x: { run: ls } } }
  f: { for_each: { a: 1 }, tasks: { x: { run: ls } } }
"), @r"
    6:23 `inputs.goal ==` is not an expression: unexpected end of input, expected expression
    9:12 this `${{` has no closing `}}`
    10:25 `inputs.` is not an expression: unexpected end of input, expected identifier or integer
    11:30 `inputs.goal && true` is not an expression: unexpected character
         write `and`, `or` and `not`
    14:20 there is no input `gaol`
         did you mean `goal`?
    15:19 `nope` is undefined
         there is inputs, tasks, needs, context, session, workflow
    18:18 there is no input `gaol`
         did you mean `goal`?
    19:22 there is no input `gaol`
         did you mean `goal`?
    20:14 a condition is one expression, not text with expressions in it
         write all of it in one `${{ }}`, or without any
    21:14 a condition is one expression, not text with expressions in it
         write all of it in one `${{ }}`, or without any
    22:18 `for_each` must be a list, not the text `a, b`
         write a list, or one expression that gives a list: ${{ inputs.files }}
    23:18 `for_each` must be a list, not a number
         write a list, or one expression that gives a list: ${{ inputs.files }}
    24:18 `for_each` must be a list, not a map
         write a list, or one expression that gives a list: ${{ inputs.files }}
    ");
}

#[test]
fn a_workflow_holds_no_nul() {
    insta::assert_snapshot!(problems("version: 1\nname: x\ntasks: { a: { run: \"l\\0s\", title: \"\\x00\" } }\n"), @r"
    3:20 a workflow cannot hold the character NUL
         remove the escape `\0`
    3:35 a workflow cannot hold the character NUL
         remove the escape `\0`
    ");
    insta::assert_snapshot!(problems("version: 1\nname: x\0\n"), @r"
    2:8 a workflow cannot hold the character NUL
         remove it
    ");
}
