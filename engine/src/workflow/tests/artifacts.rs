//! Which files of a workspace are kept.

use super::{accepted, task_problems};

#[test]
fn artifacts_are_one_pattern_or_a_list() {
    let plan = accepted(
        "
version: 1
name: x
inputs: { name: { type: string, default: a } }
tasks:
  a: { run: ls, artifacts: dist }
  b: { run: ls, artifacts: ['target/**/junit.xml', \"out/${{ inputs.name }}\"] }
  c: { run: ls }
",
    );
    let kept = |index: usize| plan.nodes[index].expected.artifacts.join(" ");
    assert_eq!(kept(0), "dist");
    assert_eq!(kept(1), "target/**/junit.xml out/${{ inputs.name }}");
    assert_eq!(kept(2), "");
}

#[test]
fn what_cannot_be_a_file_of_the_workspace_is_said() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, artifacts: /etc/passwd }
  b: { run: ls, artifacts: [a, ../b] }
  c: { run: ls, artifacts: [] }
  d: { run: ls, artifacts: { path: a } }
  e: { sleep: 1s, artifacts: a }
  f: { run: ls, artefacts: a }
  g: { run: ls, artifacts: \"${{ inputs.x }}\" }
  h: { tasks: { k: { run: ls } }, artifacts: a }
"), @r#"
    4:28 `/etc/passwd` names no file of the workspace: write a path that starts in the workspace
    5:32 `../b` names no file of the workspace: `..` leads out of it
    6:28 `artifacts` must hold 1 to 100 files or patterns
    7:28 `artifacts` must be text, not a map
    8:19 `artifacts` means nothing beside `sleep`
         it has no workspace: put it on a task with `run` or `agent`
    9:17 unknown key `artefacts` in a task
         use `artifacts`
    10:33 there is no input `x`
         there is none
    11:35 `artifacts` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    "#);
}
