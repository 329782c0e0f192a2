//! What is said about the time that things take: estimates, limits on the wait to start, retention.

use super::{accepted, problems};

#[test]
fn estimates_and_limits_are_part_of_the_plan() {
    let plan = accepted(
        "
version: 1
name: timed
start_timeout: 10m
retention: 30d
tasks:
  a:
    run: ls
    start_timeout: 5m
    estimate: { optimistic: 1m, likely: 2m, pessimistic: 9m }
  ask: { approval: {}, estimate: { optimistic: 1h, likely: 1h, pessimistic: 1h } }
",
    );
    assert_eq!(plan.start_timeout.unwrap().to_string(), "10m");
    assert_eq!(plan.retention.unwrap().to_string(), "30d");
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
retention: forever
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
    4:12 `retention` must be a duration, not `forever`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    6:53 `estimate` is not in order: 3m, 2m, 9m
         `optimistic` is the shortest, `pessimistic` the longest
    7:27 `estimate` must be a map, not text
         write { optimistic: 5m, likely: 10m, pessimistic: 30m }
    8:29 unknown key `best` in `estimate`
         use `optimistic`
    9:12 `start_timeout` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    9:31 `estimate` means nothing beside `tasks`
         a group has none of its own: put it on the tasks in it
    10:21 `estimate` means nothing beside `sleep`
         how long it takes is known: remove it
    11:24 `start_timeout` means nothing beside `approval`
         it waits for no worker: `timeout` limits how long it waits
    12:23 `start_timeout` means nothing beside `uses`
         its session has its own: put `start_timeout` into that workflow
    ");
}
