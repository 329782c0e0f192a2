//! Five schedulers on one database: each fire happens once, whoever dies and whatever is edited.

use std::collections::BTreeSet;

use futures::future::join_all;
use jobshop_engine::store::{applying, schedules};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// A zone, the minutes of the day at which its schedule fires (none: every hour at half past), and
/// its days of the week (none: all).
type Case = (&'static str, &'static [i32], &'static [i32]);

const CASES: [Case; 11] = [
    ("UTC", &[120], &[]),
    ("Europe/Amsterdam", &[150], &[]),
    ("Europe/London", &[90, 105], &[0, 6]),
    ("America/New_York", &[90, 150], &[0, 1]),
    ("America/Los_Angeles", &[120, 180], &[0]),
    ("America/Havana", &[0], &[]),
    ("America/St_Johns", &[75, 135], &[0]),
    ("Australia/Lord_Howe", &[105, 135], &[0, 3]),
    ("Pacific/Chatham", &[165, 180], &[0]),
    ("Asia/Kathmandu", &[15], &[1, 2, 3, 4, 5]),
    ("America/Chicago", &[], &[0]),
];

fn cron((_, minutes, days): &Case) -> String {
    let list = |all: &[i32]| all.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let days = if days.is_empty() { "*".to_owned() } else { list(days) };
    let hours: BTreeSet<i32> = minutes.iter().map(|minute| minute / 60).collect();
    let hours: Vec<i32> = hours.into_iter().collect();
    let of_hour: BTreeSet<i32> = minutes.iter().map(|minute| minute % 60).collect();
    let of_hour: Vec<i32> = of_hour.into_iter().collect();
    match minutes {
        [] => format!("30 * * * {days}"),
        _ => format!("{} {} * * {days}", list(&of_hour), list(&hours)),
    }
}

/// All minutes of the day that the cron means: every hour with every minute.
fn minutes_meant((_, minutes, _): &Case) -> Vec<i32> {
    let hours: BTreeSet<i32> = minutes.iter().map(|minute| minute / 60).collect();
    let of_hour: BTreeSet<i32> = minutes.iter().map(|minute| minute % 60).collect();
    hours.iter().flat_map(|hour| of_hour.iter().map(move |minute| hour * 60 + minute)).collect()
}

/// What somebody writes down who looks at a clock of that zone every quarter of an hour, by the zones
/// that Postgres knows.
async fn watched(
    it: &Stage,
    case: &Case,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> BTreeSet<DateTime<Utc>> {
    let times: Vec<DateTime<Utc>> = sqlx::query_scalar(
        "with walk as (
             select at, at at time zone $1 as wall,
                    max(at at time zone $1) over (order by at rows between unbounded preceding
                                                                       and 1 preceding) as seen
               from generate_series($2::timestamptz - interval '1 day', $3,
                                    interval '15 minutes') as at
         )
         select at
           from walk
          where at > $2
            and case when cardinality($4::int[]) = 0
                     then extract(minute from wall) = 30
                          and (cardinality($5::int[]) = 0 or extract(dow from wall) = any ($5))
                     else exists (select from generate_series(seen + interval '15 minutes', wall,
                                                              interval '15 minutes') as w
                                   where extract(hour from w) * 60 + extract(minute from w) = any ($4)
                                     and (cardinality($5::int[]) = 0
                                          or extract(dow from w) = any ($5)))
                end",
    )
    .bind(case.0)
    .bind(from)
    .bind(to)
    .bind(minutes_meant(case))
    .bind(case.2)
    .fetch_all(it.db.pool())
    .await
    .unwrap();
    times.into_iter().collect()
}

/// The fires that started a session, and how many sessions there are.
async fn fired(it: &Stage, id: &str) -> (Vec<DateTime<Utc>>, usize) {
    let times = sqlx::query_scalar(
        "select fire_time from schedule_fires where schedule_id = $1 and state = 1 order by 1",
    );
    let times = times.bind(id).fetch_all(it.db.pool()).await.unwrap();
    let sessions = sqlx::query_scalar("select count(*) from sessions where schedule_id = $1");
    let sessions: i64 = sessions.bind(id).fetch_one(it.db.pool()).await.unwrap();
    (times, usize::try_from(sessions).unwrap())
}

#[tokio::test]
async fn five_schedulers_over_two_years_in_ten_zones_fire_everything_once() {
    let it = Stage::new().await;
    let (from, to) = (at("2025-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    it.db.freeze_clock(from).await;
    let mut definition =
        "version: 1\nname: zones\ntasks: { a: { uses: builtin/noop } }\ntriggers:\n  schedule:\n"
            .to_owned();
    for (index, case) in CASES.iter().enumerate() {
        definition.extend([format!(
            "    - {{ id: z{index}, cron: \"{}\", timezone: {}, overlap: allow, catch_up: all }}\n",
            cron(case),
            case.0
        )]);
    }
    applying::apply(&it.store, TenantId::DEFAULT, &definition, None).await.unwrap();
    let schedulers: Vec<Store> = (0..5).map(|_| it.another_store()).collect();
    let mut chance = StdRng::seed_from_u64(7);
    let mut now = from;
    while now < to {
        let step = Duration::from_secs(chance.random_range(60..60 * 86_400));
        let step = step.min((to - now).to_std().unwrap());
        now += step;
        it.db.advance(step).await;
        // Two of the five die somewhere in what they do.
        let lives: Vec<Option<Duration>> = (0..5)
            .map(|index| (index > 2).then(|| Duration::from_micros(chance.random_range(0..30_000))))
            .collect();
        join_all(schedulers.iter().zip(lives).map(async |(store, life)| match life {
            None => settle(store).await,
            Some(life) => drop(tokio::time::timeout(life, settle(store)).await),
        }))
        .await;
    }
    for (index, case) in CASES.iter().enumerate() {
        let wanted = watched(&it, case, from, to).await;
        let (times, sessions) = fired(&it, &format!("zones/z{index}")).await;
        assert_eq!(times.iter().copied().collect::<BTreeSet<_>>(), wanted, "{case:?}");
        assert_eq!((times.len(), sessions), (wanted.len(), wanted.len()), "{case:?}");
    }
}

#[tokio::test]
async fn edits_while_schedules_fire_lose_and_double_nothing() {
    let it =
        Clockwork::new("{ id: it, cron: \"*/5 * * * *\", overlap: allow, catch_up: all }").await;
    let schedulers: Vec<Store> = (0..4).map(|_| it.stage.another_store()).collect();
    for round in 0..40 {
        it.stage.db.advance(10 * MINUTE).await;
        // The times stay the same, everything else changes.
        let edit = format!(
            "{{ id: it, cron: \"*/5 * * * *\", overlap: allow, catch_up: all, with: {{ nap: {}m }} }}",
            round + 1
        );
        let firing = join_all(schedulers.iter().map(settle));
        let edit = [edit.as_str()];
        tokio::join!(firing, it.apply(&edit));
    }
    it.stage.settle().await;
    let (times, sessions) = fired(&it.stage, "nap/it").await;
    let wanted: Vec<_> = (1..=80).map(|n| at("2026-01-05T09:30:00Z") + n * 5 * MINUTE).collect();
    assert_eq!((times, sessions), (wanted, 80));
}

#[tokio::test]
async fn backfills_and_triggers_beside_the_clock_lose_and_double_nothing() {
    let it =
        Clockwork::new("{ id: it, cron: \"*/5 * * * *\", overlap: allow, catch_up: all }").await;
    let begin = at("2026-01-05T09:30:00Z");
    let id = "nap/it".parse().unwrap();
    let others: Vec<Store> = (0..3).map(|_| it.stage.another_store()).collect();
    let mut now = begin;
    for _ in 0..20 {
        it.stage.db.advance(15 * MINUTE).await;
        now += 15 * MINUTE;
        let firing = join_all(others.iter().map(settle));
        let filling =
            schedules::backfill(&it.stage.store, TenantId::DEFAULT, &id, (begin, now), None);
        let (_, filled) = tokio::join!(firing, filling);
        filled.unwrap();
    }
    it.stage.settle().await;
    let (times, sessions) = fired(&it.stage, "nap/it").await;
    // The time at which it was applied counts for a backfill.
    let wanted: Vec<_> = (0..=60).map(|n| begin + n * 5 * MINUTE).collect();
    assert_eq!((times, sessions), (wanted, 61));
}
