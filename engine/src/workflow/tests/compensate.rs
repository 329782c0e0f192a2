//! What undoes tasks.

use super::{accepted, task_problems};
use crate::plan::{Kind, NodeIndex};

#[test]
fn it_sees_the_task_and_what_the_task_saw() {
    let plan = accepted(
        "
version: 1
name: x
tasks:
  a: { run: ls }
  g:
    needs: [a]
    for_each: [1]
    env: { G: '${{ item }}' }
    tasks:
      b:
        run: ls
        compensate:
          uses: builtin/http
          with: { method: DELETE, url: 'https://x/${{ tasks.b.outputs.id }}/${{ tasks.a.status }}' }
          retry: {}
      c: { run: ls, compensate: { run: undo, env: { R: '${{ session.status }}' }, timeout: 1m } }
",
    );
    let found: Vec<_> = plan.compensations().collect();
    assert_eq!(found, [(NodeIndex(3), NodeIndex(5)), (NodeIndex(2), NodeIndex(4))]);
    let own = plan.node(NodeIndex(4));
    assert_eq!((own.id.as_str(), own.parent), ("b.compensate", Some(NodeIndex(1))));
    assert_eq!(own.references.tasks, [NodeIndex(0), NodeIndex(2)]);
    assert!(matches!(own.kind, Kind::Builtin(_)) && own.needs.is_empty());
    assert_eq!(plan.path(NodeIndex(4), &["1"]), "g[1].b.compensate");
    assert!(plan.node(NodeIndex(2)).dependents.is_empty());
    assert_eq!(plan.executable(crate::plan::BlockIndex::ROOT), 1);
}

#[test]
fn what_cannot_be_undone_or_undo_is_said() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { run: ls, compensate: { } }
  b: { run: ls, compensate: { run: ls, uses: builtin/noop } }
  c: { sleep: 1s, compensate: { run: ls } }
  d: { tasks: { x: { run: ls } }, compensate: { run: ls } }
  e: { run: ls, compensate: { run: ls, when: true } }
  f: { run: ls, undo: { run: ls } }
  h: { run: ls, compensate: { run: ls, env: { A: '${{ tasks.a.status }}' } } }
finally:
  z: { run: ls, compensate: { run: ls } }
"), @r"
    4:29 `compensate` needs a kind
         give it exactly one of run and uses
    5:29 `compensate` needs a kind
         give it exactly one of run and uses
    6:19 `compensate` means nothing beside `sleep`
         only what did something can be undone: put it on a task that runs or uses something
    7:35 `compensate` means nothing beside `tasks`
         only what did something can be undone: put it on a task that runs or uses something
    8:40 unknown key `when` in `compensate`
         known keys: run, uses, with, requires, env, timeout, retry
    9:17 unknown key `undo` in a task
         use `compensate`
    10:55 `a` is not needed by `h`, so it may not have ended
         add `a` to the `needs` of `h`
    12:29 `compensate` means nothing under `finally`
         what compensates runs before `finally`
    ");
}
