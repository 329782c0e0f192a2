//! Groups with `loop`.

use super::{accepted, task_problems};

#[test]
fn rounds_see_the_one_before_and_until_the_one_that_ended() {
    let plan = accepted(
        "
version: 1
name: x
tasks:
  plan: { run: ls }
  fix:
    needs: [plan]
    loop: { until: tasks.check.status == 'completed' and round > 1, max_rounds: 3 }
    tasks:
      edit: { run: ls, env: { LOG: '${{ tasks.fix.tasks.check.outputs.log }}', N: '${{ round }}' } }
      check: { needs: [edit], run: ls, continue_on_failure: true }
  named:
    for_each: [1]
    tasks:
      again:
        loop: { until: '${{ tasks.again.tasks.one.outputs.done }}', max_rounds: 2 }
        as: try
        tasks: { one: { run: ls, env: { T: '${{ try }}', I: '${{ item }}' } } }
  after: { needs: [fix], run: ls, env: { LOG: '${{ tasks.fix.tasks.check.outputs.log }}' } }
",
    );
    let fix = plan.group(crate::plan::NodeIndex(1)).unwrap();
    let rounds = fix.rounds.as_ref().unwrap();
    assert_eq!((rounds.max_rounds, rounds.name.as_str()), (3, "round"));
    assert_eq!(rounds.references.tasks, [crate::plan::NodeIndex(3)]);
    assert!(rounds.references.item);
    let edit = plan.node(crate::plan::NodeIndex(2));
    assert_eq!(edit.references.items, [crate::plan::NodeIndex(1)]);
    assert_eq!(plan.path(crate::plan::NodeIndex(2), &["2"]), "fix[2].edit");
}

#[test]
fn what_a_loop_cannot_be_is_said() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, loop: { until: true, max_rounds: 1 } }
  b: { for_each: [1], loop: { until: true, max_rounds: 1 }, tasks: { x: { run: ls } } }
  c: { loop: { until: true }, tasks: { x: { run: ls } } }
  d: { loop: { while: true, times: 3 }, tasks: { x: { run: ls } } }
  e: { loop: { until: tasks.x.outputs.y, max_rounds: 0 }, tasks: { y: { run: ls } } }
  f: { loop: { until: tasks.f.status == 'completed', max_rounds: 9 }, tasks: { y: { run: ls } } }
  g: { loop: { until: true, max_rounds: 2 }, key: x, tasks: { z: { loop: { until: true, max_rounds: 1 }, tasks: { y: { run: ls } } } } }
  h: { loop: { until: 'a ${{ true }}', max_rounds: 1001 }, tasks: { y: { run: ls } } }
"), @r"
    4:17 `loop` means nothing beside `run`
         it belongs to a group: put this task under `tasks` of one
    5:23 `loop` and `for_each` cannot stand on the same group
         put a group with `loop` under the `tasks` of the one with `for_each`
    6:14 `loop` needs `max_rounds`
    7:16 unknown key `while` in `loop`
         use `until`: true ends the loop
    7:29 unknown key `times` in `loop`
         use `max_rounds`
    8:23 there is no task `x`
         it stands in a group with `for_each`: write `tasks.b.items[…].x`
    8:54 `max_rounds` must be 1 to 1000, not 0
    9:23 `f` has not ended while its rounds run
         of the round it has `tasks.f.tasks`
    10:46 `key` means nothing beside `tasks`
         it belongs to `for_each`
    10:63 the item `round` hides the item of the group `g`
         name one of them with `as`
    11:23 a condition is one expression, not text with expressions in it
         write all of it in one `${{ }}`, or without any
    11:52 `max_rounds` must be 1 to 1000, not 1001
    ");
}
