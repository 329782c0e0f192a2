//! When a task is decided, and what it is decided to by how its needs ended and by its condition.

use jobshop_engine::{store::sessions, task::TaskState};
use jobshop_tests::wait;
use serde_json::Value;

use crate::{LIMIT, end_of, ends, fleet, told};

#[tokio::test(flavor = "multi_thread")]
async fn join_all_runs_after_completed_allowed_and_when_skipped_needs() {
    ends(
        "
tasks:
  done: { uses: builtin/noop }
  allowed: { uses: builtin/fail, continue_on_failure: true }
  unwanted: { uses: builtin/noop, when: 1 == 2 }
  after: { uses: builtin/noop, needs: [done, allowed, unwanted] }
",
        "
        session partially_completed
        after completed
        allowed failed (error)
        done completed
        unwanted skipped (when)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_need_skips_and_the_skip_travels_on() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  done: { uses: builtin/noop }
  after: { uses: builtin/noop, needs: [bad, done] }
  far: { uses: builtin/noop, needs: [after], when: 1 == 1 }
",
        "
        session failed
        after skipped (upstream_failed)
        bad failed (error)
        done completed
        far skipped (upstream_failed)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_done_runs_however_its_needs_ended() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  cut: { uses: builtin/noop, needs: [bad] }
  unwanted: { uses: builtin/noop, when: inputs.no }
  after: { uses: builtin/noop, needs: [bad, cut, unwanted], join: all_done }
inputs:
  no: { type: boolean, default: false }
",
        "
        session failed
        after completed
        bad failed (error)
        cut skipped (upstream_failed)
        unwanted skipped (when)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_counts_completed_and_allowed_needs() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  allowed: { uses: builtin/fail, continue_on_failure: true }
  done: { uses: builtin/noop }
  by_done: { uses: builtin/noop, needs: [bad, done], join: any }
  by_allowed: { uses: builtin/noop, needs: [bad, allowed], join: any }
",
        "
        session failed
        allowed failed (error)
        bad failed (error)
        by_allowed completed
        by_done completed
        done completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_decides_conditions_and_groups_by_the_same_needs() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  done: { uses: builtin/noop, needs: [bad], join: all_done }
  asked: { uses: builtin/noop, needs: [done], join: any, when: 1 == 1 }
  group:
    needs: [bad, done]
    join: any
    tasks:
      in: { uses: builtin/noop }
  asleep: { sleep: 1ms, needs: [done], join: any }
",
        "
        session failed
        asked completed
        asleep completed
        bad failed (error)
        done completed
        group completed
        group.in completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_without_a_good_need_is_skipped_for_what_the_needs_were() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  unwanted: { uses: builtin/noop, when: 1 == 2 }
  with_a_bad_one: { uses: builtin/noop, needs: [bad, unwanted], join: any }
  without: { uses: builtin/noop, needs: [unwanted], join: any }
  after: { uses: builtin/noop, needs: [without] }
",
        "
        session failed
        after completed
        bad failed (error)
        unwanted skipped (when)
        with_a_bad_one skipped (upstream_failed)
        without skipped (no_need_completed)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_starts_at_the_first_completed_need() {
    let fleet = fleet().await;
    let definition = "
version: 1
name: first
tasks:
  slow: { sleep: 1h }
  fast: { uses: builtin/noop }
  first: { uses: builtin/noop, needs: [slow, fast], join: any }
";
    let key = fleet.submit(definition, Value::Null).await;
    wait::until("the end of `first`", LIMIT, async || {
        let rows = fleet.rows(key).await;
        (rows[2].state == TaskState::Completed).then_some(())
    })
    .await;
    sessions::cancel(&fleet.store, key, None, None).await.unwrap();
    let observed = end_of(&fleet, key).await;
    assert_eq!(
        told(&observed),
        "session cancelled\nfast completed\nfirst completed\nslow cancelled (session_cancelled)\n"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_before_its_needs_and_those_of_its_groups_ended() {
    let fleet = fleet().await;
    let definition = "
version: 1
name: order
tasks:
  first: { sleep: 20ms }
  group:
    needs: [first]
    tasks:
      a: { sleep: 20ms }
      b: { uses: builtin/noop, needs: [a] }
      c: { uses: builtin/noop }
  last: { uses: builtin/noop, needs: [group] }
";
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    let row = |key: &str| &observed.rows[key];
    for (later, earlier) in
        [("group.c", "first"), ("group.b", "group.a"), ("last", "group"), ("group", "group.b")]
    {
        let begun = row(later).ready_at.or_else(|| row(later).finished_at).unwrap();
        assert!(begun >= row(earlier).finished_at.unwrap(), "{later} before {earlier}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_gives_no_boolean_fails_the_task() {
    ends(
        "
tasks:
  a: { uses: builtin/noop }
  text: { uses: builtin/noop, when: workflow.name }
  list: { when: '[1]', tasks: { b: { uses: builtin/noop } } }
  missing: { needs: [a], run: ':', when: tasks.a.error.class == 'x' }
",
        "
        session failed
        a completed
        list failed (template)
        list.b skipped (upstream_failed)
        missing failed (template)
        text failed (template)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_that_is_a_group_is_seen_by_both_names() {
    ends(
        "
tasks:
  group: { tasks: { inner: { uses: builtin/noop } } }
  each: { for_each: [x], key: '${{ item }}', tasks: { part: { uses: builtin/noop } } }
  by_tasks:
    needs: [group, each]
    when: tasks.group.tasks.inner.status == tasks.each.items.x.part.status
    uses: builtin/noop
  by_needs:
    needs: [group, each]
    when: needs.group.tasks.inner.status == needs.each.items.x.part.status
    uses: builtin/noop
",
        "
        session completed
        by_needs completed
        by_tasks completed
        each completed
        each[x] completed
        each[x].part completed
        group completed
        group.inner completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_condition_needs_no_agent_and_no_attempt() {
    ends(
        "
tasks:
  nobody: { uses: builtin/noop, requires: [what-no-agent-offers], when: 1 == 2 }
",
        "
        session completed
        nobody skipped (when)
        ",
    )
    .await;
}
