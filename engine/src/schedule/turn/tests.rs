//! What one look at a schedule decides, by example.

use chrono_tz::Tz;

use super::*;
use crate::duration::Span;

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-{text}:00Z").parse().unwrap()
}

fn rule(overlap: Overlap, catch_up: CatchUp) -> Rule {
    Rule { overlap, catch_up, ..Rule::new("0 * * * *".parse().unwrap(), Tz::UTC) }
}

fn standing(next: &str) -> Standing {
    Standing { next: at(next), since: at("01T00:00"), runs: 0, open: 0, queued: 0 }
}

fn id() -> ScheduleId {
    "ship/hourly".parse().unwrap()
}

/// `S 10:00` for a fire that starts a session, and so on; then what is next.
fn told(rule: &Rule, standing: &Standing, now: &str) -> (Vec<String>, Option<String>) {
    let turn = turn(rule, &id(), standing, at(now));
    let letter = |then| match then {
        Then::Start => 'S',
        Then::Queue => 'Q',
        Then::Skip => 'K',
        Then::Miss => 'M',
    };
    let fires = turn.fires.iter().map(|f| format!("{} {}", letter(f.then), f.time.format("%H:%M")));
    (fires.collect(), turn.next.map(|due| due.fire.format("%d %H:%M").to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what may be there")]
fn next(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_is_due_starts_and_the_following_time_is_next() {
    let rule = rule(Overlap::Skip, CatchUp::All);
    assert_eq!(told(&rule, &standing("05T10:00"), "05T09:59"), (vec![], next("05 10:00")));
    assert_eq!(
        told(&rule, &standing("05T10:00"), "05T10:00"),
        (vec!["S 10:00".into()], next("05 11:00"))
    );
}

#[test]
fn missed_fires_are_caught_up_as_the_rule_says() {
    let late = |catch_up| told(&rule(Overlap::Allow, catch_up), &standing("05T10:00"), "05T13:20");
    let all = ["S 10:00", "S 11:00", "S 12:00", "S 13:00"].map(str::to_owned).to_vec();
    assert_eq!(late(CatchUp::All), (all, next("05 14:00")));
    let latest = ["M 10:00", "S 13:00"].map(str::to_owned).to_vec();
    assert_eq!(late(CatchUp::Latest), (latest, next("05 14:00")));
    assert_eq!(late(CatchUp::None), (vec!["M 10:00".into()], next("05 14:00")));
    // Seen within a minute, a fire is not missed.
    let rule = rule(Overlap::Allow, CatchUp::None);
    let seen: DateTime<Utc> = "2026-01-05T10:00:40Z".parse().unwrap();
    assert_eq!(turn(&rule, &id(), &standing("05T10:00"), seen).fires[0].then, Then::Start);
}

#[test]
fn nothing_is_caught_up_that_is_older_than_the_window() {
    for catch_up in [CatchUp::All, CatchUp::Latest] {
        let rule =
            Rule { catch_up_window: Span::from_secs(5_400), ..rule(Overlap::Allow, catch_up) };
        let (fires, after) = told(&rule, &standing("05T10:00"), "05T13:20");
        let wanted: &[&str] = match catch_up {
            CatchUp::All => &["M 10:00", "S 12:00", "S 13:00"],
            CatchUp::Latest | CatchUp::None => &["M 10:00", "S 13:00"],
        };
        assert_eq!(
            (fires.as_slice(), after),
            (
                wanted.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice(),
                next("05 14:00")
            )
        );
        let weekly = Rule { cron: "0 10 * * 1".parse().unwrap(), ..rule };
        let told = told(&weekly, &standing("05T10:00"), "22T00:00");
        assert_eq!(told, (vec!["M 10:00".into()], next("26 10:00")), "{catch_up:?}");
    }
}

#[test]
fn the_last_of_a_year_of_minutes_is_found() {
    let every_minute =
        Rule { cron: "* * * * *".parse().unwrap(), ..rule(Overlap::Allow, CatchUp::Latest) };
    let since = Standing {
        next: "2025-01-02T00:00:00Z".parse().unwrap(),
        since: DateTime::UNIX_EPOCH,
        ..standing("01T00:00")
    };
    let turn = turn(&every_minute, &id(), &since, at("01T12:30"));
    assert_eq!(turn.fires[1], Fire { time: at("01T12:30"), then: Then::Start });
    assert_eq!(turn.fires.len(), 2);
}

#[test]
fn a_session_in_the_way_is_treated_as_the_rule_says() {
    let busy = Standing { open: 1, ..standing("05T10:00") };
    for (overlap, wanted, cancels) in [
        (Overlap::Allow, ["S 10:00", "S 11:00"], false),
        (Overlap::Skip, ["K 10:00", "K 11:00"], false),
        (Overlap::Queue, ["Q 10:00", "Q 11:00"], false),
        (Overlap::Cancel, ["K 10:00", "S 11:00"], true),
    ] {
        let rule = rule(overlap, CatchUp::All);
        assert_eq!(told(&rule, &busy, "05T11:00").0, wanted, "{overlap:?}");
        assert_eq!(turn(&rule, &id(), &busy, at("05T11:00")).cancels, cancels);
    }
    // The first of several is in the way of the others.
    let free = |overlap| told(&rule(overlap, CatchUp::All), &standing("05T10:00"), "05T11:00").0;
    assert_eq!(free(Overlap::Skip), ["S 10:00", "K 11:00"]);
    assert_eq!(free(Overlap::Queue), ["S 10:00", "Q 11:00"]);
    let full = Standing { queued: 1_000, ..busy };
    assert_eq!(told(&rule(Overlap::Queue, CatchUp::All), &full, "05T10:00").0, ["K 10:00"]);
}

#[test]
fn it_ends_after_its_runs_or_its_time() {
    let runs = Rule { max_runs: Some(3), ..rule(Overlap::Allow, CatchUp::All) };
    let two = Standing { runs: 2, ..standing("05T10:00") };
    assert_eq!(told(&runs, &two, "05T12:00"), (vec!["S 10:00".into()], None));
    let until = Rule { until: Some(at("05T11:00")), ..rule(Overlap::Allow, CatchUp::All) };
    let all = vec!["S 10:00".into(), "S 11:00".into()];
    assert_eq!(told(&until, &standing("05T10:00"), "05T12:00"), (all, None));
    let start = Rule { start: Some(at("07T11:00")), ..rule(Overlap::Allow, CatchUp::All) };
    assert_eq!(start.next(at("01T00:00")), Some(at("07T11:00")));
    assert_eq!(start.next(at("07T11:00")), Some(at("07T12:00")));
}

#[test]
fn many_fires_come_in_turns() {
    let every_minute =
        Rule { cron: "* * * * *".parse().unwrap(), ..rule(Overlap::Allow, CatchUp::All) };
    let first = turn(&every_minute, &id(), &standing("05T10:00"), at("05T18:00"));
    assert_eq!(first.fires.len(), FIRES_MAX);
    assert_eq!(first.next.unwrap().fire, first.fires[FIRES_MAX - 1].time + TimeDelta::minutes(1));
}

#[test]
fn jitter_is_the_same_for_everybody_and_stays_before_the_next_fire() {
    let rule = Rule { jitter: Some(Span::from_secs(7_200)), ..rule(Overlap::Allow, CatchUp::All) };
    let mut lates = std::collections::BTreeSet::new();
    for fire in rule.fires(at("05T10:00")).take(50) {
        let due = rule.due(&id(), fire);
        assert_eq!(due, rule.due(&id(), fire));
        assert!(due.at >= fire && due.at < fire + TimeDelta::hours(1), "{due:?}");
        lates.insert((due.at - fire).num_milliseconds());
    }
    assert!(lates.len() > 40, "{lates:?}");
    let other = rule.due(&"ship/other".parse().unwrap(), at("05T10:00"));
    assert_ne!(other, rule.due(&id(), at("05T10:00")));
    let waiting = turn(&rule, &id(), &standing("05T10:00"), at("05T10:00"));
    assert_eq!(waiting.fires, []);
    assert_eq!(waiting.next, Some(rule.due(&id(), at("05T10:00"))));
}
