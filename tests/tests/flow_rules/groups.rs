//! Groups, items of `for_each`, and how both end.

use jobshop_tests::model::observe::{Observed, ObservedRow};
use serde_json::Value;

use crate::{end_of, ends, fleet};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_fail_fails_inside_and_is_allowed_outside() {
    ends(
        "
tasks:
  group:
    continue_on_failure: true
    tasks:
      bad: { uses: builtin/fail }
      cut: { uses: builtin/noop, needs: [bad] }
  each:
    continue_on_failure: true
    for_each: [x]
    key: ${{ item }}
    tasks:
      inner: { uses: builtin/fail }
  after: { uses: builtin/noop, needs: [group, each] }
",
        "
        session partially_completed
        after completed
        each failed (error)
        each[x] failed (error)
        each[x].inner failed (error)
        group failed (error)
        group.bad failed (error)
        group.cut skipped (upstream_failed)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_fails_only_by_failures_that_were_not_allowed() {
    ends(
        "
tasks:
  fine:
    tasks:
      allowed: { uses: builtin/fail, continue_on_failure: true }
  outer:
    tasks:
      inner:
        continue_on_failure: true
        tasks:
          bad: { uses: builtin/fail }
  spoilt:
    tasks:
      bad2: { uses: builtin/fail }
  after: { uses: builtin/noop, needs: [spoilt] }
",
        "
        session failed
        after skipped (upstream_failed)
        fine completed
        fine.allowed failed (error)
        outer completed
        outer.inner failed (error)
        outer.inner.bad failed (error)
        spoilt failed (error)
        spoilt.bad2 failed (error)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_skipped_group_is_skipped_for_its_reason() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  unwanted: { when: 1 == 2, tasks: { a: { uses: builtin/noop } } }
  cut: { needs: [bad], tasks: { b: { tasks: { c: { uses: builtin/noop } } } } }
  no_good: { needs: [unwanted], join: any, tasks: { d: { uses: builtin/noop } } }
  each: { needs: [bad], for_each: [1], tasks: { e: { uses: builtin/noop } } }
",
        "
        session failed
        bad failed (error)
        cut skipped (upstream_failed)
        cut.b skipped (upstream_failed)
        cut.b.c skipped (upstream_failed)
        each skipped (upstream_failed)
        no_good skipped (no_need_completed)
        no_good.d skipped (no_need_completed)
        unwanted skipped (when)
        unwanted.a skipped (when)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_failed_skipped_or_completed_by_what_is_in_it() {
    ends(
        "
tasks:
  each:
    for_each: [good, bad, unwanted, mixed]
    key: ${{ item }}
    tasks:
      fails: { uses: builtin/fail, when: item == 'bad' }
      runs: { uses: builtin/noop, when: item == 'good' or item == 'mixed' }
  look:
    needs: [each]
    join: all_done
    when: >-
      tasks.each.completed == ['good', 'mixed'] and tasks.each.failed == ['bad']
      and tasks.each.skipped == ['unwanted'] and tasks.each.cancelled == []
    uses: builtin/noop
",
        "
        session failed
        each failed (error)
        each[bad] failed (error)
        each[bad].fails failed (error)
        each[bad].runs skipped (when)
        each[good] completed
        each[good].fails skipped (when)
        each[good].runs completed
        each[mixed] completed
        each[mixed].fails skipped (when)
        each[mixed].runs completed
        each[unwanted] skipped
        each[unwanted].fails skipped (when)
        each[unwanted].runs skipped (when)
        look completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_completes_the_group() {
    ends(
        "
tasks:
  each: { for_each: [], tasks: { a: { uses: builtin/fail } } }
  after: { uses: builtin/noop, needs: [each] }
",
        "
        session completed
        after completed
        each completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_no_keys_or_come_twice_fail_the_group() {
    ends(
        "
tasks:
  twice: { for_each: [1, '1'], key: '${{ item }}', tasks: { a: { uses: builtin/noop } } }
  spaced: { for_each: [x y], key: '${{ item }}', tasks: { b: { uses: builtin/noop } } }
  no_list: { for_each: '${{ workflow.name }}', tasks: { c: { uses: builtin/noop } } }
",
        "
        session failed
        no_list failed (template)
        spaced failed (template)
        twice failed (error)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_runs_out_of_time_fails_and_what_is_open_in_it_is_cancelled() {
    ends(
        "
tasks:
  group:
    timeout: 50ms
    tasks:
      slow: { sleep: 1h }
      fast: { sleep: 1ms }
      later: { uses: builtin/noop, needs: [slow] }
  after: { uses: builtin/noop, needs: [group] }
",
        "
        session failed
        after skipped (upstream_failed)
        group failed (timeout)
        group.fast completed
        group.later cancelled (timeout)
        group.slow cancelled (timeout)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_items_run_at_once_than_allowed() {
    let fleet = fleet().await;
    let definition = "
version: 1
name: parallel
tasks:
  each:
    for_each: [1, 2, 3, 4, 5]
    max_parallel: 2
    tasks:
      bad: { run: sleep 0.1; exit 1 }
";
    let key = fleet.submit(definition, Value::Null).await;
    assert_eq!(most_at_once(&end_of(&fleet, key).await), 2);
    fleet.stop().await;
}

/// How many tasks ran beside each other at most.
fn most_at_once(observed: &Observed) -> usize {
    let tasks = || observed.rows.iter().filter(|(_, row)| row.attempt > 0);
    tasks()
        .map(|(_, task)| {
            let at = task.started_at.unwrap();
            let runs = |other: &ObservedRow| {
                other.started_at.unwrap() <= at && at < other.finished_at.unwrap()
            };
            tasks().filter(|(_, other)| runs(other)).count()
        })
        .max()
        .unwrap()
}
