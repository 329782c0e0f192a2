//! Which files of a workspace are kept.

use super::{accepted, task_problems};
use crate::{plan::Command, size::Size};

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

#[test]
fn set_up_and_quota_are_handed_down() {
    let plan = accepted(
        "
version: 1
name: x
workspace: { repo: /r, setup: make deps, quota: 2GiB }
tasks:
  a: { run: ls }
  b: { run: ls, workspace: { setup: [make more, [cargo, fetch]] } }
  c: { run: ls, workspace: { repo: /other } }
",
    );
    let spec = |index: usize| plan.nodes[index].workspace.clone().unwrap();
    let script = |text: &str| Command::Script(text.to_owned());
    assert_eq!(spec(0).setup, [script("make deps")]);
    let fetch = Command::Argv(["cargo", "fetch"].map(str::to_owned).into());
    assert_eq!(spec(1).setup, [script("make more"), fetch]);
    assert!(spec(2).setup.is_empty());
    assert!((0..3).all(|index| spec(index).quota == Some(Size::mebibytes(2048))));
}

#[test]
fn what_is_wrong_with_them_is_said() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, workspace: { setup: [] } }
  b: { run: ls, workspace: { setup: 'echo ${{ inputs.x }}' } }
  c: { run: ls, workspace: { quota: 0 } }
  d: { run: ls, workspace: { quota: much } }
  e: { run: ls, workspace: { init: x } }
"), @r#"
    4:37 `setup` must hold 1 to 100 commands
    5:43 `${{ }}` cannot stand in a script
         pass the value through the environment: env: { VALUE: "${{ inputs.x }}" } and "$VALUE" in the script
    6:37 `quota` must be more than 0
    7:37 `quota` must be a size, not `much`
         write a number with its unit: 64KiB, 16MiB, 2GiB
    8:30 unknown key `init` in `workspace`
         use `setup`
    "#);
}
