//! What failures, skips and retries make of a session.

use serde_json::Value;

use crate::{end_of, ends, fleet};

#[tokio::test(flavor = "multi_thread")]
async fn skips_never_change_the_result() {
    ends(
        "
tasks:
  unwanted: { uses: builtin/fail, when: 1 == 2 }
  without: { uses: builtin/fail, needs: [unwanted], join: any }
",
        "
        session completed
        unwanted skipped (when)
        without skipped (no_need_completed)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_branches_go_on_after_a_failure() {
    ends(
        "
tasks:
  bad: { uses: builtin/fail }
  slow: { sleep: 30ms }
  after: { uses: builtin/noop, needs: [slow] }
",
        "
        session failed
        after completed
        bad failed (error)
        slow completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_cancels_the_rest_and_groups_fail_with_what_failed_in_them() {
    ends(
        r#"
fail_fast: true
tasks:
  allowed: { uses: builtin/fail, continue_on_failure: true }
  outer:
    needs: [allowed]
    tasks:
      each:
        for_each: [a, b]
        key: ${{ item }}
        tasks:
          slow: { sleep: 1h, when: item == 'a' }
          bad: { sleep: "${{ workflow.name }}", when: item == 'b' }
  other: { tasks: { slow2: { sleep: 1h } } }
  after: { uses: builtin/noop, needs: [outer], join: all_done }
"#,
        "
        session failed
        after cancelled (fail_fast)
        allowed failed (error)
        other cancelled (fail_fast)
        other.slow2 cancelled (fail_fast)
        outer failed (error)
        outer.each failed (error)
        outer.each[a] cancelled (fail_fast)
        outer.each[a].bad skipped (when)
        outer.each[a].slow cancelled (fail_fast)
        outer.each[b] failed (error)
        outer.each[b].bad failed (template)
        outer.each[b].slow skipped (when)
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_counted_and_chosen_by_class() {
    let fleet = fleet().await;
    let definition = r#"
version: 1
name: retries
tasks:
  once: { run: exit 1 }
  thrice: { run: exit 1, retry: { initial: 1ms } }
  twice: { run: exit 1, retry: { initial: 1ms, max_attempts: 2 } }
  wrong:
    run: ":"
    retry: { initial: 1ms, max_attempts: 2, errors: [error] }
    outputs: { type: object, required: [x] }
  slow:
    run: sleep 60
    timeout: 20ms
    retry: { initial: 1ms, max_attempts: 2 }
  not_this: { run: exit 1, retry: { initial: 1ms, errors: [timeout] } }
  unrendered:
    needs: [once]
    join: all_done
    run: ":"
    env: { X: "${{ tasks.once.outputs.x }}" }
    retry: { initial: 1ms, errors: [error, template] }
"#;
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    let failed: Vec<(&str, &str, i32)> = observed
        .rows
        .iter()
        .map(|(key, row)| {
            let class = row.error.as_ref().and_then(|error| error["class"].as_str());
            (key.as_str(), class.unwrap_or("none"), row.failures)
        })
        .collect();
    assert_eq!(
        failed,
        [
            ("not_this", "error", 1),
            ("once", "error", 1),
            ("slow", "timeout", 2),
            ("thrice", "error", 3),
            ("twice", "error", 2),
            ("unrendered", "template", 1),
            ("wrong", "schema", 2),
        ]
    );
    fleet.stop().await;
}
