//! What is said about the time that things take: estimates, limits on the wait to start.

use super::{accepted, problems};

#[test]
fn estimates_and_limits_are_part_of_the_plan() {
    let plan = accepted(
        "
version: 1
name: timed
start_timeout: 10m
tasks:
  a:
    run: ls
    start_timeout: 5m
    estimate: { optimistic: 1m, likely: 2m, pessimistic: 9m }
  ask: { approval: {}, estimate: { optimistic: 1h, likely: 1h, pessimistic: 1h } }
",
    );
    assert_eq!(plan.start_timeout.unwrap().to_string(), "10m");
    assert_eq!(plan.nodes[0].start_timeout.unwrap().to_string(), "5m");
    let estimate = plan.nodes[0].estimate.unwrap();
    assert!((estimate.expected_ms() - 180_000.0).abs() < 1e-6);
    assert!((estimate.deviation_ms() - 80_000.0).abs() < 1e-6);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_cure() {
    insta::assert_snapshot!(problems("
version: 1
name: timed
start_timeout: 0s
tasks:
  a: { run: ls, estimate: { optimistic: 3m, likely: 2m, pessimistic: 9m } }
  b: { run: ls, estimate: 5m }
  c: { run: ls, estimate: { best: 1m, likely: 2m, pessimistic: 3m } }
  group: { start_timeout: 1m, estimate: { optimistic: 1m, likely: 1m, pessimistic: 1m }, tasks: { x: { run: ls } } }
  nap: { sleep: 1m, estimate: { optimistic: 1m, likely: 1m, pessimistic: 1m } }
  ask: { approval: {}, start_timeout: 1m }
  sub: { uses: other, start_timeout: 1m }
"), @r"
    3:16 `start_timeout` must be longer than nothing
    5:53 `estimate` is not in order: 3m, 2m, 9m
         `optimistic` is the shortest, `pessimistic` the longest
    6:27 `estimate` must be a map, not text
         write { optimistic: 5m, likely: 10m, pessimistic: 30m }
    7:29 unknown key `best` in `estimate`
         use `optimistic`
    8:12 `start_timeout` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    8:31 `estimate` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    9:21 `estimate` means nothing beside `sleep`
         how long it takes is known: remove it
    10:24 `start_timeout` means nothing beside `approval`
         it waits for no worker: `timeout` limits how long it waits
    11:23 `start_timeout` means nothing beside `uses`
         its session has its own: put `start_timeout` into that workflow
    ");
}
