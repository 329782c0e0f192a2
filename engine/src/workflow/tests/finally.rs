//! What stands under `finally`.

use super::{accepted, problems, task_problems};

#[test]
fn it_may_refer_to_every_task_and_know_the_result() {
    let plan = accepted(
        "
version: 1
name: x
finally_timeout: 5m
tasks:
  a: { run: ls }
  g: { for_each: [1], tasks: { b: { run: ls } } }
finally:
  report:
    run: ls
    env: { A: '${{ tasks.a.status }}', G: '${{ tasks.g.completed }}', R: '${{ session.status }}' }
  after: { needs: [report], when: tasks.report.status == 'completed', run: ls }
  all: { tasks: { one: { run: ls, env: { A: '${{ tasks.a.outputs }}' } } } }
",
    );
    let finally: Vec<&str> = plan.finally().map(|node| plan.node(node).id.as_str()).collect();
    assert_eq!(finally, ["report", "after", "all"]);
    assert_eq!(plan.finally_timeout().ms, 300_000);
    let blockers: Vec<i32> = plan.finally().map(|node| plan.node(node).blockers(&plan)).collect();
    assert_eq!(blockers, [1, 1, 1]);
}

#[test]
fn nothing_but_finally_sees_what_runs_there() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, needs: [report], env: { R: '${{ tasks.report.status }}' } }
  b: { run: ls, when: session.status == 'failed' }
  c: { run: ls }
finally:
  report: { run: ls, needs: [a] }
  c: { run: ls }
  more: { run: ls, env: { R: '${{ tasks.report.status }}' } }
outputs:
  r: ${{ tasks.report.outputs.x }}
"), @r"
    4:25 `report` stands under `finally`, which runs after all tasks
         put this task under `finally` too
    4:49 `report` stands under `finally`, which runs once the result is decided
         only other tasks under `finally` may refer to it
    5:23 `session.status` is undefined here
         it is known once the result is decided: under `finally` and `compensate`
    8:30 `a` has ended when anything under `finally` runs
         remove the need: what stands under `finally` may refer to every task
    9:3 `c` is a task already
         give the one under `finally` another id
    10:35 `report` is not needed by `more`, so it may not have ended
         add `report` to the `needs` of `more`
    12:10 `report` stands under `finally`, which runs once the result is decided
         only other tasks under `finally` may refer to it
    ");
    let head = "version: 1\nname: x\ntasks: { a: { run: ls } }\n";
    insta::assert_snapshot!(problems(&format!("{head}finally: {{}}\n")), @"4:10 `finally` has no tasks");
    insta::assert_snapshot!(problems(&format!("{head}finally_timeout: 1m\n")), @"4:1 `finally_timeout` means nothing without `finally`");
    insta::assert_snapshot!(problems(&format!("{head}on_exit: {{ b: {{ run: ls }} }}\n")), @r"
    4:1 unknown key `on_exit` in a workflow
         use `finally`: its tasks run once the result is decided
    ");
}
