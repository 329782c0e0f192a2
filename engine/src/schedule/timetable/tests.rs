//! The rules of changing clocks by example, and against somebody who watches the clock.

use std::collections::BTreeSet;

use chrono::{Datelike as _, Timelike as _};
use proptest::prelude::*;

use super::*;

fn fires(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let cron = cron.parse().unwrap();
    let table = Timetable { cron: &cron, zone: zone.parse().unwrap() };
    let instant = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let first = table.next(instant(from) - TimeDelta::seconds(1));
    std::iter::successors(first, |at| table.next(*at))
        .take_while(|at| *at < instant(to))
        .map(|at| at.format("%m-%dT%H:%MZ").to_string())
        .collect()
}

#[test]
fn a_skipped_wall_time_fires_at_the_first_valid_instant_after() {
    let spring =
        |cron| fires(cron, "Europe/Amsterdam", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    // At 01:00 UTC the clock goes from 02:00 to 03:00.
    assert_eq!(spring("30 2 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("0 2 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("0,10,50 2 * * *"), ["03-29T01:00Z"]);
    assert_eq!(spring("0 2,3,4 * * *"), ["03-29T01:00Z", "03-29T02:00Z"]);
    assert_eq!(spring("15 1-3 * * *"), ["03-29T00:15Z", "03-29T01:00Z", "03-29T01:15Z"]);
    // Havana skips midnight, Lord Howe half an hour, Samoa once a whole day.
    let havana =
        fires("0 0 * * *", "America/Havana", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
    assert_eq!(havana, ["03-08T05:00Z", "03-09T04:00Z"]);
    let lord_howe =
        fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T12:00:00Z");
    assert_eq!(lord_howe, ["10-03T15:30Z"]);
    let samoa =
        fires("0 9,12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2012-02-01T00:00:00Z");
    assert_eq!(samoa, ["12-30T10:00Z"]);
}

#[test]
fn a_repeated_wall_time_fires_once() {
    let autumn =
        |cron| fires(cron, "Europe/Amsterdam", "2026-10-24T20:00:00Z", "2026-10-25T04:00:00Z");
    // At 01:00 UTC the clock goes from 03:00 back to 02:00.
    assert_eq!(autumn("30 2 * * *"), ["10-25T00:30Z"]);
    assert_eq!(autumn("*/30 2 * * *"), ["10-25T00:00Z", "10-25T00:30Z"]);
    assert_eq!(autumn("0 1-3 * * *"), ["10-24T23:00Z", "10-25T00:00Z", "10-25T02:00Z"]);
    let new_york =
        fires("30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    assert_eq!(new_york, ["11-01T05:30Z"]);
}

#[test]
fn every_hour_follows_elapsed_time() {
    let zone = "Europe/Amsterdam";
    let autumn = |cron| fires(cron, zone, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(
        autumn("0 * * * *"),
        ["10-24T23:00Z", "10-25T00:00Z", "10-25T01:00Z", "10-25T02:00Z"]
    );
    assert_eq!(autumn("30 */2 * * *"), ["10-25T00:30Z", "10-25T01:30Z"]);
    assert_eq!(autumn("*/15 * * * *").len(), 16);
    let spring = |cron| fires(cron, zone, "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z");
    assert_eq!(spring("30 * * * *").len(), 5);
    assert_eq!(spring("*/20 * * * *").len(), 15);
    assert_eq!(spring("0 */2 * * *"), ["03-28T23:00Z", "03-29T01:00Z", "03-29T02:00Z"]);
    let day = |from, to| fires("0 * * * *", zone, from, to).len();
    assert_eq!(day("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 25);
    assert_eq!(day("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 23);
}

#[test]
fn it_ends_with_what_can_be_counted() {
    let cron = "0 0 1 1 *".parse().unwrap();
    let table = Timetable { cron: &cron, zone: Tz::UTC };
    assert!(table.next("2099-01-02T00:00:00Z".parse().unwrap()).is_some());
    assert!(table.next("2100-12-31T00:00:00Z".parse().unwrap()).is_none());
}

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Amsterdam",
    "Europe/London",
    "America/New_York",
    "America/Los_Angeles",
    "America/Havana",
    "America/St_Johns",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

/// A cron as sets, and how it is written.
#[derive(Debug, Clone)]
struct Sets {
    minutes: BTreeSet<u32>,
    hours: Option<BTreeSet<u32>>,
    /// `*/n` instead of a list of hours.
    hour_step: Option<u32>,
    days: Option<BTreeSet<u32>>,
    months: Option<BTreeSet<u32>>,
    week_days: Option<BTreeSet<u32>>,
}

impl Sets {
    fn text(&self) -> String {
        let list =
            |set: &BTreeSet<u32>| set.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let or_star =
            |set: &Option<BTreeSet<u32>>| set.as_ref().map_or_else(|| "*".to_owned(), list);
        let hours = self.hour_step.map_or_else(|| or_star(&self.hours), |step| format!("*/{step}"));
        format!(
            "{} {hours} {} {} {}",
            list(&self.minutes),
            or_star(&self.days),
            or_star(&self.months),
            or_star(&self.week_days)
        )
    }

    fn follows_elapsed(&self) -> bool {
        self.hours.is_none()
    }

    fn matches(&self, wall: NaiveDateTime) -> bool {
        let is_in = |set: &Option<BTreeSet<u32>>, value| {
            set.as_ref().is_none_or(|set| set.contains(&value))
        };
        let week_day = wall.weekday().num_days_from_sunday();
        let is_day = match (&self.days, &self.week_days) {
            (Some(days), Some(week_days)) => {
                days.contains(&wall.day())
                    || week_days.contains(&week_day)
                    || (week_day == 0 && week_days.contains(&7))
            }
            _ => {
                is_in(&self.days, wall.day())
                    && (is_in(&self.week_days, week_day)
                        || (week_day == 0 && is_in(&self.week_days, 7)))
            }
        };
        self.minutes.contains(&wall.minute())
            && is_in(&self.hours, wall.hour())
            && self.hour_step.is_none_or(|step| wall.hour().is_multiple_of(step))
            && is_in(&self.months, wall.month())
            && is_day
    }
}

/// The fires of `sets` as somebody finds them who looks at the wall clock every minute. Instants and
/// wall times are minutes since 1970.
fn walk(sets: &Sets, zone: Tz, from: DateTime<Utc>, minutes: i64) -> Vec<DateTime<Utc>> {
    let moment = |minute: i64| DateTime::from_timestamp(minute * 60, 0).unwrap();
    let offset_at = |at: i64| {
        let utc = moment(at).naive_utc();
        i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) / 60
    };
    let matches = |wall: i64| {
        let minute = u32::try_from(wall.rem_euclid(60)).unwrap();
        sets.minutes.contains(&minute) && sets.matches(moment(wall).naive_utc())
    };
    let first = from.timestamp() / 60;
    // It starts a day early, to have seen what repeats.
    let start = first - 24 * 60;
    let mut offset = offset_at(start);
    let mut seen_up_to = start + offset - 1;
    // After a jump forward, the clock that did not jump is looked at as well for as long.
    let mut old_clock = (0, start);
    let mut fires = Vec::new();
    for at in start..first + minutes {
        if at % 15 == 0 {
            let now = offset_at(at);
            if now > offset {
                old_clock = (offset, at + (now - offset));
            }
            offset = now;
        }
        let wall = at + offset;
        let is_fire = if sets.follows_elapsed() {
            matches(wall) || (at < old_clock.1 && matches(at + old_clock.0))
        } else {
            (seen_up_to + 1..=wall).any(matches)
        };
        seen_up_to = seen_up_to.max(wall);
        if is_fire && at > first {
            fires.push(moment(at));
        }
    }
    fires
}

fn some_of(first: u32, last: u32, most: usize) -> impl Strategy<Value = BTreeSet<u32>> {
    prop::collection::btree_set(first..=last, 1..=most)
}

fn sets() -> impl Strategy<Value = Sets> {
    let hours = prop_oneof![
        3 => some_of(0, 23, 3).prop_map(|hours| (Some(hours), None)),
        2 => some_of(0, 3, 2).prop_map(|hours| (Some(hours), None)),
        1 => Just((None, None)),
        1 => (1_u32..=6).prop_map(|step| (None, Some(step))),
    ];
    (
        some_of(0, 59, 4),
        hours,
        prop::option::weighted(0.3, some_of(1, 31, 4)),
        prop::option::weighted(0.3, some_of(1, 12, 6)),
        prop::option::weighted(0.3, some_of(0, 7, 3)),
    )
        .prop_map(|(minutes, (hours, hour_step), days, months, week_days)| {
            let months = days.as_ref().map_or(months, |_| None);
            Sets { minutes, hours, hour_step, days, months, week_days }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn fires_are_those_of_somebody_who_watches_the_clock(
        sets in sets(),
        zone in prop::sample::select(&ZONES[..]),
        quarter in 0_i64..8,
    ) {
        let zone: Tz = zone.parse().unwrap();
        let begin: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
        let from = begin + TimeDelta::days(quarter * 91);
        let minutes = 95 * 24 * 60;
        let cron: Cron = sets.text().parse().unwrap();
        let table = Timetable { cron: &cron, zone };
        let until = from + TimeDelta::minutes(minutes);
        let found: Vec<_> = std::iter::successors(table.next(from), |at| table.next(*at))
            .take_while(|at| *at < until)
            .collect();
        prop_assert_eq!(found, walk(&sets, zone, from, minutes), "{} in {}", cron, zone);
    }
}

#[test]
fn two_years_in_every_zone_are_those_of_the_clock() {
    let set = |values: &[u32]| values.iter().copied().collect::<BTreeSet<_>>();
    let night = Sets {
        minutes: set(&[30]),
        hours: Some(set(&[0, 2, 3])),
        hour_step: None,
        days: None,
        months: None,
        week_days: None,
    };
    let hourly = Sets { hours: None, ..night.clone() };
    let from: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
    let minutes = 2 * 365 * 24 * 60;
    for zone in ZONES {
        let zone: Tz = zone.parse().unwrap();
        for sets in [&night, &hourly] {
            let cron: Cron = sets.text().parse().unwrap();
            let table = Timetable { cron: &cron, zone };
            let found: Vec<_> = std::iter::successors(table.next(from), |at| table.next(*at))
                .take_while(|at| *at < from + TimeDelta::minutes(minutes))
                .collect();
            assert_eq!(found, walk(sets, zone, from, minutes), "{cron} in {zone}");
        }
    }
}
