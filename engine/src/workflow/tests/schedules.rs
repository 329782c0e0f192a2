//! Schedules in a workflow: what is read, and what is refused at load.

use serde_json::json;

use super::*;
use crate::{
    duration::Span,
    schedule::{CatchUp, Overlap, Rule},
};

fn with_schedules(schedules: &str) -> String {
    format!(
        "version: 1
name: ship
inputs:
  goal: {{ type: string, required: true }}
  count: {{ type: integer, default: 2 }}
tasks: {{ a: {{ uses: builtin/noop }} }}
triggers:
  schedule:
{schedules}"
    )
}

#[test]
fn a_schedule_is_read_with_everything_it_says() {
    let plan = accepted(&with_schedules(
        r#"    - { id: nightly, cron: "0 2 * * 1-5", timezone: Europe/Amsterdam, with: { goal: "pay down debt" },
        overlap: queue, catch_up: all, catch_up_window: 6h, jitter: 5m, pause_after: 3, max_runs: 10,
        start: "2026-01-01T00:00:00Z", until: "2027-01-01T00:00:00+01:00" }
    - { id: hourly_2, cron: 0 * * * *, with: { goal: x, count: 3 } }
"#,
    ));
    let [nightly, hourly] = plan.schedules.as_slice() else { panic!("{:?}", plan.schedules) };
    let rule = &nightly.rule;
    assert_eq!((nightly.name.as_str(), rule.cron.as_str()), ("nightly", "0 2 * * 1-5"));
    assert_eq!(rule.timezone, chrono_tz::Europe::Amsterdam);
    assert_eq!((rule.overlap, rule.catch_up), (Overlap::Queue, CatchUp::All));
    assert_eq!(
        (rule.catch_up_window, rule.jitter),
        (Span::from_secs(21_600), Some(Span::from_secs(300)))
    );
    assert_eq!((rule.pause_after, rule.max_runs), (Some(3), Some(10)));
    assert_eq!(rule.until.unwrap().to_rfc3339(), "2026-12-31T23:00:00+00:00");
    let usual = Rule::new("0 * * * *".parse().unwrap(), chrono_tz::Tz::UTC);
    assert_eq!(hourly.name, "hourly_2");
    assert_eq!(hourly.rule.with, *json!({"goal": "x", "count": 3}).as_object().unwrap());
    assert_eq!(Rule { with: serde_json::Map::new(), ..hourly.rule.clone() }, usual);
    assert_eq!((usual.overlap, usual.catch_up), (Overlap::Skip, CatchUp::Latest));
    let stored: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    assert_eq!(stored, plan);
}

#[test]
fn everything_wrong_with_schedules_is_told_at_load() {
    insta::assert_snapshot!(problems(&with_schedules(
        r#"    - { id: Nightly, cron: "0 25 * * *", timezone: Europe/Amsterdan }
    - { id: twice, cron: "0 2 * * *", with: { goals: x } }
    - { id: twice, cron: "0 2 * * *", with: { goal: "${{ inputs.goal }}", count: many } }
    - { id: odd, cron: "0 2 30 2 *", tz: UTC, overlap: never, catch_up: some, max_runs: 0 }
    - { id: ends, cron: "0 2 1 1 *", with: { goal: x }, jitter: soon, start: today,
        until: "2020-01-01T00:00:00Z" }
    - { id: never, cron: "0 2 1 1 *", with: { goal: x }, start: "2026-02-01T00:00:00Z",
        until: "2026-03-01T00:00:00Z" }
    - { id: back, cron: "0 2 1 1 *", with: { goal: x }, start: "2026-02-01T00:00:00Z",
        until: "2026-01-01T00:00:00Z" }
    - nightly
  cron: x
"#
    )), @r#"
    9:13 `Nightly` cannot be the id of a schedule
         use 1 to 64 lower-case letters, digits, `-` and `_`, the first a letter or digit
    9:28 the hour of the cron: `25` is out of its range
         write 0 to 23, a range, a list, or `*`
    9:52 `timezone`: there is no zone `Europe/Amsterdan`
         did you mean `Europe/Amsterdam`?
    10:45 the input `goal` is required, and this schedule does not give it
         write with: { goal: … }
    10:47 there is no input `goals`: did you mean `goal`?
    11:13 there are two schedules `twice`
         give every schedule an id of its own
    11:53 a schedule has no expressions
         write the value itself; `${{ }}` means nothing before a session starts
    11:75 the input `count` must be integer, not text
    12:24 `0 2 30 2 *` never fires: no month of it has that day
         change the day of month or the month
    12:38 unknown key `tz` in a schedule
         use `timezone`
    12:56 `overlap` must be one of allow, skip, queue, cancel, not `never`
    12:73 `catch_up` must be one of none, latest, all, not `some`
         did you mean `none`?
    12:89 `max_runs` must be 1 or more
    13:65 `jitter` must be a duration, not `soon`
         write a number with its unit: 250ms, 10s, 5m, 2h, 1d
    13:78 `start` must be a moment, not `today`
         write it as in 2026-01-31T02:00:00Z
    16:16 `0 2 1 1 *` does not fire between `start` and `until`
         widen the time or change the cron
    18:16 `until` is not after `start`
         nothing would ever fire
    19:7 each of `schedule` must be a map, not text
         write { id: nightly, cron: "0 2 * * *", timezone: Europe/Amsterdam }
    20:3 unknown key `cron` in `triggers`
         use `schedule` with a list
    "#);
}
