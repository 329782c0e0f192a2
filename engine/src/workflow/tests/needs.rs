//! Ids, needs, groups and workspaces.

use super::task_problems;

#[test]
fn ids_have_a_form_and_some_are_taken() {
    insta::assert_snapshot!(task_problems("
tasks:
  Build: { run: ls }
  1st: { run: ls }
  my task: { run: ls }
  status: { run: ls }
  group:
    tasks:
      status: { run: ls }
      items: { run: ls }
      ok: { run: ls }
"), @r"
    4:3 `Build` cannot be the id of a task
         use 1 to 64 lower-case letters, digits, `_` and `-`, the first a letter
    5:3 `1st` cannot be the id of a task
         use 1 to 64 lower-case letters, digits, `_` and `-`, the first a letter
    6:3 `my task` cannot be the id of a task
         use 1 to 64 lower-case letters, digits, `_` and `-`, the first a letter
    10:7 `status` cannot be the id of a task in a group
         it already means something in expressions; choose another id
    10:7 `status` hides the task `status` outside of the group
         choose another id
    11:7 `items` cannot be the id of a task in a group
         it already means something in expressions; choose another id
    ");
}

#[test]
fn nothing_hides_what_is_outside() {
    insta::assert_snapshot!(task_problems("
tasks:
  plan: { run: ls }
  build:
    tasks:
      plan: { run: ls }
      inner:
        tasks:
          build: { run: ls }
          inner: { run: ls }
  other:
    tasks:
      inner: { run: ls }
  each:
    for_each: [1]
    tasks:
      again:
        for_each: [1]
        tasks: { x: { run: ls } }
      named:
        for_each: [1]
        as: inputs
        tasks: { y: { run: ls } }
      odd:
        for_each: [1]
        as: not
        tasks: { z: { run: ls } }
"), @r"
    7:7 `plan` hides the task `plan` outside of the group
         choose another id
    10:11 `build` hides the task `build` outside of the group
         choose another id
    11:11 `inner` hides the task `inner` outside of the group
         choose another id
    18:7 the item `item` hides the item of the group `each`
         name one of them with `as`
    23:13 `as: inputs` hides `inputs`
         choose another name
    27:13 `not` cannot be the name of an item
         use letters, digits and `_`, the first no digit
    ");
}

#[test]
fn needs_name_siblings() {
    insta::assert_snapshot!(task_problems("
tasks:
  plan: { run: ls }
  build:
    needs: [plna, plan, plan]
    tasks:
      one: { run: ls, needs: [plan] }
      two: { run: ls, needs: [build] }
      three: { run: ls, needs: [one, three] }
  ship: { run: ls, needs: [one] }
"), @r"
    6:13 there is no task `plna`
         did you mean `plan`?
    6:25 `plan` is needed twice
    8:31 `plan` does not stand beside this task: `needs` names siblings
         let the group `build` need it: everything in a group needs what the group needs
    9:31 `build` does not stand beside this task: `needs` names siblings
         a task cannot need the group it stands in
    10:38 tasks need each other in a cycle: three → three
         remove one of these needs
    11:28 `one` does not stand beside this task: `needs` names siblings
         it stands in the group `build`; need the group
    ");
}

#[test]
fn cycles_are_named_as_a_whole() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, needs: [d] }
  b: { run: ls, needs: [a] }
  c: { run: ls, needs: [b] }
  d: { run: ls, needs: [c, a2] }
  a2: { run: ls }
  e: { run: ls, needs: [e] }
  group:
    tasks:
      x: { run: ls, needs: [y] }
      y: { run: ls, needs: [x] }
"), @r"
    4:25 tasks need each other in a cycle: a → d → c → b → a
         remove one of these needs
    9:25 tasks need each other in a cycle: e → e
         remove one of these needs
    12:29 tasks need each other in a cycle: x → y → x
         remove one of these needs
    ");
}

#[test]
fn a_workspace_starts_at_one_commit() {
    insta::assert_snapshot!(task_problems("
workspace: { repo: /srv/repo, from: a }
tasks:
  a: { agent: { runtime: scripted, script: x } }
  b: { agent: { runtime: scripted, script: x } }
  both: { run: ls, needs: [a, b] }
  chosen: { run: ls, needs: [a, b], workspace: { from: b } }
  empty: { run: ls, needs: [a, b], workspace: { mode: empty } }
  merged: { uses: builtin/merge, needs: [a, b] }
  after: { run: ls, needs: [merged] }
  none: { run: ls, workspace: { from: a } }
  group:
    needs: [a, b]
    tasks:
      inner: { run: ls }
  each:
    for_each: [1]
    tasks:
      c: { agent: { runtime: scripted, script: x } }
  many: { run: ls, needs: [each], workspace: { from: each } }
"), @r"
    3:37 `from` means nothing here
         it belongs to the `workspace` of a task
    7:3 it is not said which commit `both` starts at: a, b
         choose one: workspace: { from: a }
    12:39 `from: a` names no task that this one needs
         name a task whose commit to start at, and need it
    16:7 it is not said which commit `inner` starts at: a, b
         choose one: workspace: { from: a }
    21:54 `from: each` is a group with `for_each`, which has many commits
         merge them with `uses: builtin/merge` and start from that
    ");
}
