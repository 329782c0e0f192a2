//! What expressions may refer to, and what they are told when it is not there.

use super::task_problems;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn undefined_names_are_refused_at_load() {
    insta::assert_snapshot!(task_problems("
inputs: { goal: {}, my-input: {} }
tasks:
  plan:
    run: ls
    outputs: { type: object, properties: { parts: {} }, additionalProperties: false }
  nap: { sleep: 1s }
  merge: { uses: builtin/merge, needs: [plan], workspace: { repo: /r } }
  ship:
    needs: [plan, nap, merge]
    run: ls
    env:
      A01: ${{ inputs.gaol }}
      A02: ${{ inputs.goal.deeper }}
      A03: ${{ inputs.my-input }}
      A04: ${{ task.plan.outputs }}
      A05: ${{ plan.outputs }}
      A06: ${{ goal }}
      A07: ${{ tasks.paln.outputs }}
      A08: ${{ tasks.plan.output.x }}
      A09: ${{ tasks.plan.parts }}
      A10: ${{ tasks.plan.outputs.prats }}
      A11: ${{ tasks.plan.status.x }}
      A12: ${{ tasks.plan.error.kind }}
      A13: ${{ tasks.nap.outputs.x }}
      A14: ${{ tasks.merge.outputs.sha }}
      A15: ${{ session.name }}
      A16: ${{ workflow.id }}
      A17: ${{ item }}
      A18: ${{ env.CI }}
      A19: ${{ steps.plan.outputs }}
      A20: ${{ upper(inputs.goal) }}
      A21: ${{ needs.paln.outputs }}
"), @r"
    14:16 there is no input `gaol`
         did you mean `goal`?
    15:16 `inputs.goal.deeper` is undefined
         `inputs.goal` is of type string, which has no parts
    16:16 there is no input `my`
         write `inputs['my-input']`
    17:16 `task` is undefined
         did you mean `tasks`?
    18:16 `plan` is undefined
         a task is written `tasks.plan`
    19:16 `goal` is undefined
         an input is written `inputs.goal`
    20:16 there is no task `paln`
         did you mean `plan`?
    21:16 `tasks.plan.output` is undefined
         write `tasks.plan.outputs`
    22:16 `tasks.plan.parts` is undefined
         what it wrote is `tasks.plan.outputs.parts`
    23:16 `tasks.plan.outputs.prats` is undefined
         did you mean `parts`?
    24:16 `tasks.plan.status.x` is undefined
         a status is text, such as 'completed'
    25:16 `tasks.plan.error.kind` is undefined
         an error has class and message
    26:16 `tasks.nap.outputs.x` is undefined
         this task has no outputs
    27:16 `tasks.merge.outputs.sha` is undefined
         there is branch, commit, base, merged, conflicts
    28:16 `session.name` is undefined
         `session` has id, title, retry, started_at
    29:16 `workflow.id` is undefined
         `workflow` has name, version
    30:16 `item` is undefined
         there is an item only in a group with `for_each`
    31:16 `env` is undefined
         the environment is for commands; expressions see `inputs` and `tasks`
    32:16 `steps` is undefined
         write `tasks`
    33:16 there is no function `upper`
         filters are written `x | upper`
    34:16 `paln` is not among the needs of this task
         did you mean `plan`?
    ");
}

#[test]
fn a_task_sees_only_what_it_needs() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls }
  b: { run: ls, needs: [a] }
  c: { run: ls, needs: [b], env: { A: '${{ tasks.a.status }}', B: '${{ needs.a.status }}' } }
  d: { run: ls, env: { A: '${{ tasks.a.status }}', D: '${{ tasks.d.status }}' } }
  group:
    tasks:
      x: { run: ls, env: { A: '${{ tasks.a.status }}', G: '${{ tasks.group.status }}' } }
      y: { run: ls, env: { X: '${{ tasks.x.status }}' } }
  e: { run: ls, needs: [group], env: { X: '${{ tasks.x.status }}' } }
"), @r"
    6:72 `a` is not among the needs of this task
         add `a` to `needs`
    7:32 `a` is not needed by `d`, so it may not have ended
         add `a` to the `needs` of `d`
    7:60 `d` cannot refer to itself
         its outputs are there for the tasks that need it
    10:36 `a` is not needed by `group.x`, so it may not have ended
         add `a` to the `needs` of `group`
    10:64 `group` is the group around this task: it has not ended while this runs
         refer to it from a task that needs the group
    11:36 `x` is not needed by `group.y`, so it may not have ended
         add `x` to the `needs` of `group.y`
    12:48 there is no task `x`
         it stands in a group: write `tasks.group.tasks.x`
    ");
}

#[test]
fn ids_with_a_dash_have_their_own_spelling() {
    insta::assert_snapshot!(task_problems("
inputs: { n: { type: integer } }
tasks:
  my: { run: ls }
  my-task: { run: ls }
  my-long-task: { run: ls }
  group: { tasks: { in-group: { run: ls } } }
  ship:
    needs: [my, my-task, my-long-task, group]
    run: ls
    env:
      A: ${{ tasks.my-task.outputs.x }}
      B: ${{ tasks.my-long-task.outputs.x }}
      C: ${{ needs.my-task.outputs.x }}
      D: ${{ tasks.group.tasks.in-group.status }}
      E: ${{ tasks['my-task'].outputs.x }} ${{ inputs.n-1 }}
"), @r"
    13:14 `tasks.my-task` is a subtraction: an id with a dash cannot follow a dot
         write `tasks['my-task']`
    14:14 `tasks.my-long-task` is a subtraction: an id with a dash cannot follow a dot
         write `tasks['my-long-task']`
    15:14 `needs.my-task` is a subtraction: an id with a dash cannot follow a dot
         write `needs['my-task']`
    16:14 `tasks.group.tasks.in-group` is a subtraction: an id with a dash cannot follow a dot
         write `tasks.group.tasks['in-group']`
    ");
}

#[test]
fn groups_have_their_own_members() {
    insta::assert_snapshot!(task_problems("
tasks:
  plain: { tasks: { x: { run: ls } } }
  each: { for_each: [1], tasks: { y: { run: ls } } }
  ship:
    needs: [plain, each]
    run: ls
    env:
      A: ${{ tasks.plain.x.status }}
      B: ${{ tasks.plain.items.a.x }}
      C: ${{ tasks.plain.completed }}
      D: ${{ tasks.plain.outputs.x }}
      E: ${{ tasks.plain.tasks.z }}
      F: ${{ tasks.each.y.status }}
      G: ${{ tasks.each.tasks.y.status }}
      H: ${{ tasks.each.items.a.z }}
      I: ${{ tasks.each.complete }}
      J: ${{ tasks.each.items.a.y.output }}
"), @r"
    10:14 `tasks.plain.x` is undefined
         write `tasks.plain.tasks.x`
    11:14 `tasks.plain.items` is undefined
         write `tasks.plain.tasks.ID`: it has no `for_each`
    12:14 `tasks.plain.completed` is undefined
         only a group with `for_each` has lists of item keys
    13:14 `tasks.plain.outputs.x` is undefined
         a group has no outputs of its own, the tasks in it have
    14:14 there is no task `z` in the group `plain`
         there is x
    15:14 `tasks.each.y` is undefined
         write `tasks.each.items.KEY.y`
    16:14 `tasks.each.tasks` is undefined
         write `tasks.each.items.KEY.ID`: it has `for_each`
    17:14 there is no task `z` in the group `each`
         there is y
    18:14 `tasks.each.complete` is undefined
         did you mean `completed`?
    19:14 `tasks.each.items.a.y.output` is undefined
         write `tasks.each.items.a.y.outputs`
    ");
}

#[test]
fn words_that_expressions_do_not_have_are_refused() {
    insta::assert_snapshot!(task_problems("
inputs: { goal: {}, list: { type: array } }
tasks:
  a:
    when: inputs.goal is definde
    run: ls
    env:
      A: ${{ inputs.goal | uper }}
      B: x ${{ inputs.list | map('shout') | select('odd') | join }}
      C: ${{ inputs.goal.upper() }}
      D: ${{ inputs.list is not emty }}
      E: ${{ lookup(inputs.goal) }}
      F: ${{ inputs.list | reject('==', 1) | default([]) | first }}
"), @r"
    6:26 there is no test `definde`
         did you mean `defined`?
    9:28 there is no filter `uper`
         did you mean `upper`?
    10:34 there is no filter `shout`
         did you mean `sort`?
    11:26 values have no methods
         a filter is written `x | upper`
    12:33 there is no test `emty`
         there is defined, undefined, none, boolean, odd, even, divisibleby, number, integer, int, float, string and 30 more
    13:14 there is no function `lookup`
         filters are written `x | lookup`
    ");
}

#[test]
fn an_item_may_not_hide_a_task_around_it() {
    insta::assert_snapshot!(task_problems("
tasks:
  part: { run: ls }
  outer:
    tasks:
      beside: { run: ls }
      one: { for_each: [1], as: part, tasks: { x: { run: ls } } }
      two: { for_each: [1], as: beside, tasks: { x: { run: ls } } }
      three: { for_each: [1], as: outer, tasks: { x: { run: ls } } }
      four: { for_each: [1], as: x, tasks: { y: { run: ls } } }
  item: { for_each: [1], tasks: { x: { run: ls } } }
"), @r"
    8:33 the item `part` hides the task `part`
         choose another name with `as`
    9:33 the item `beside` hides the task `outer.beside`
         choose another name with `as`
    10:35 the item `outer` hides the task `outer`
         choose another name with `as`
    12:3 the item `item` hides the task `item`
         choose another name with `as`
    ");
}

#[test]
fn what_is_handed_down_is_wrong_once() {
    insta::assert_snapshot!(task_problems("
env: { A: '${{ tasks.a.status }}' }
workspace: { repo: '${{ inputs.repo }}' }
tasks:
  a: { uses: builtin/noop }
  b: { run: ls }
  c: { run: ls }
"), @r"
    3:16 `a` is a task, and this is for every task
         put it on the tasks that need it
    4:25 there is no input `repo`
         there is none
    ");
}
