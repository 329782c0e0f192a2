//! Locks and concurrency: what is accepted, what each problem says and where.

use super::{accepted, problems, task_problems};
use crate::plan::{Concurrency, Lock, OnFull};

fn lock(name: &str, limit: i32) -> Lock {
    Lock { name: name.to_owned(), limit }
}

#[test]
fn a_lock_is_a_name_a_name_with_a_limit_or_a_list_of_these() {
    let plan = accepted(
        "
version: 1
name: locks
inputs: { repo: { default: web } }
concurrency: { key: 'repo-${{ inputs.repo }}', limit: 2, on_full: reject }
tasks:
  one: { lock: prod, run: ls }
  two: { lock: { name: gpu, limit: 4 }, sleep: 1s }
  three: { lock: ['repo-${{ inputs.repo }}', { name: gpu }], tasks: { a: { run: ls } } }
  items:
    for_each: [1, 2]
    lock: 'item-${{ item }}'
    tasks: { b: { run: ls }, c: { needs: [b], run: ls } }
",
    );
    assert_eq!(plan.nodes[0].locks, [lock("prod", 1)]);
    assert_eq!(plan.nodes[1].locks, [lock("gpu", 4)]);
    assert_eq!(plan.nodes[2].locks, [lock("repo-${{ inputs.repo }}", 1), lock("gpu", 1)]);
    let concurrency = plan.concurrency.as_ref().unwrap();
    assert_eq!(
        *concurrency,
        Concurrency {
            key: "repo-${{ inputs.repo }}".to_owned(),
            limit: 2,
            on_full: OnFull::Reject
        }
    );
    // What stands in an item waits for its lock.
    assert_eq!(plan.nodes[5].blockers(&plan), 1);
    assert_eq!(plan.nodes[6].blockers(&plan), 1);
}

#[test]
fn without_a_key_sessions_of_the_workflow_share_the_places() {
    let plan = accepted("version: 1\nname: own\nconcurrency: {}\ntasks: { a: { run: ls } }");
    let concurrency = plan.concurrency.unwrap();
    assert_eq!((concurrency.key.as_str(), concurrency.limit), ("own", 1));
    assert_eq!(concurrency.on_full, OnFull::Queue);
}

#[test]
fn wrong_locks_are_refused_where_they_stand() {
    insta::assert_snapshot!(task_problems("
tasks:
  a: { lock: [], run: ls }
  b: { lock: { name: x, limit: 0 }, run: ls }
  c: { lock: { key: x }, run: ls }
  d: { lock: '', run: ls }
  e: { lock: 7, run: ls }
  f: { lock: 'x-${{ item }}', run: ls }
  g:
    lock: [outer]
    tasks:
      h: { lock: inner, run: ls }
      i: { tasks: { j: { lock: inner, run: ls } } }
  k: { lock: { name: x, max: 2 }, run: ls }
  l: { run: ls, lock: '${{ tasks.a.outputs.name }}' }
"), @r#"
    4:8 `lock` is an empty list
         name a lock or remove the key
    5:32 `limit` must be 1 to 10000, not 0
    6:16 unknown key `key` in a lock
         use `name`
    7:14 a lock needs a name
    8:14 `lock` must be text, not a number
         write "7", with the quotes
    9:21 `item` is undefined
         there is an item only in a group with `for_each`
    13:18 `h` stands in the group `g`, which takes a lock already
         what holds a lock must not wait for another: name all of them on the group, or on its tasks
    14:32 `j` stands in the group `g`, which takes a lock already
         what holds a lock must not wait for another: name all of them on the group, or on its tasks
    15:25 unknown key `max` in a lock
         use `limit`
    16:28 `a` is not needed by `l`, so it may not have ended
         add `a` to the `needs` of `l`
    "#);
}

#[test]
fn wrong_concurrency_is_refused_where_it_stands() {
    insta::assert_snapshot!(problems("
version: 1
name: wrong
concurrency: { group: x, max: 2, on_full: wait, limit: 0 }
tasks:
  a: { run: ls }
"), @r"
    3:16 unknown key `group` in `concurrency`
         use `key`
    3:26 unknown key `max` in `concurrency`
         use `limit`
    3:43 `on_full` must be one of queue, reject, cancel_oldest, not `wait`
    3:56 `limit` must be 1 to 10000, not 0
    ");
    insta::assert_snapshot!(problems("
version: 1
name: wrong
concurrency: { key: '${{ tasks.a.outputs.x }}-${{ input.x }}', cancel-in-progress: true }
tasks:
  a: { run: ls }
"), @r"
    3:26 `a` is a task, and this is for every task
         put it on the tasks that need it
    3:51 `input` is undefined
         write `inputs`
    3:64 unknown key `cancel-in-progress` in `concurrency`
         use `on_full: queue`, `reject` or `cancel_oldest`
    ");
    insta::assert_snapshot!(problems("
version: 1
name: wrong
concurrency: 2
tasks:
  a: { run: ls }
"), @r#"
    3:14 `concurrency` must be a map, not a number
         write { key: "repo-${{ inputs.repo }}", limit: 2 }
    "#);
}
