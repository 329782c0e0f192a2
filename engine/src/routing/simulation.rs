//! Ten thousand tasks and twenty agents of known quality, on a clock of their own, routed by the real
//! score: better agents get more, new ones get a chance, a broken one is out and comes back.

use std::{cmp::Reverse, collections::BinaryHeap};

use chrono::{DateTime, TimeDelta, Utc};

use super::{tests::agent, *};

const TASKS: usize = 10_000;
const AGENTS: usize = 20;
const CAPACITY: i32 = 3;
/// Between two tasks; one takes a minute, so that half of the places are busy.
const EVERY_MS: i64 = 2_000;
const TAKES_MS: i64 = 60_000;
/// It does everything wrong between these tasks.
const BROKEN: usize = 3;
const BREAKS: usize = 3_000;
const MENDED: usize = 5_000;
/// It comes with this task.
const NEW: usize = 19;
const COMES: usize = 6_000;

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below_one(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// What each agent was given, by task.
struct Played {
    given: Vec<Vec<usize>>,
    agents: Vec<Candidate>,
}

fn quality(agent: usize) -> f64 {
    match agent {
        BROKEN | NEW => 0.97,
        // From 0.55 to 0.98.
        it => 0.55 + 0.43 * f64::from(u32::try_from(it).unwrap()) / 18.0,
    }
}

fn play() -> Played {
    let routing = Routing::default();
    let wish = Wish { requires: vec!["code_generation".to_owned()], ..Wish::default() };
    let began: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut agents: Vec<Candidate> = (0..AGENTS)
        .map(|n| Candidate {
            capacity: CAPACITY,
            is_live: n != NEW,
            ..agent(&format!("agent-{n:02}"))
        })
        .collect();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut given = vec![Vec::new(); AGENTS];
    let mut running: BinaryHeap<Reverse<(DateTime<Utc>, usize, bool)>> = BinaryHeap::new();
    for task in 0..TASKS {
        let now = began + TimeDelta::milliseconds(EVERY_MS * i64::try_from(task).unwrap());
        while let Some(Reverse((at, n, is_good))) = running.peek().copied() {
            if at > now {
                break;
            }
            running.pop();
            agents[n].running -= 1;
            let end = if is_good { End::Good } else { End::Bad };
            let requires = wish.requires.clone();
            let took_ms = u64::try_from(TAKES_MS).unwrap();
            let work = Work { end, requires, took_ms, tokens: Some(1_000), cost_usd: None };
            agents[n].performance.fold(&work, at, &routing.smoothing);
            agents[n].breaker.fold(is_good, at, &routing.breaker);
        }
        agents[NEW].is_live = task >= COMES;
        let ranked = rank(&agents, &wish, &routing, now);
        let best = &ranked[0];
        assert!(best.excluded.is_empty(), "half of the places are free");
        let sum: f64 = best.score.parts.iter().map(|part| part.points).sum();
        assert!((sum - best.score.total).abs() < 1e-9, "{:?}", best.score);
        let name = best.candidate.name.clone();
        let n = agents.iter().position(|it| it.name == name).unwrap();
        let is_broken = n == BROKEN && (BREAKS..MENDED).contains(&task);
        let is_good = !is_broken && chance.below_one() < quality(n);
        running.push(Reverse((now + TimeDelta::milliseconds(TAKES_MS), n, is_good)));
        agents[n].running += 1;
        given[n].push(task);
    }
    Played { given, agents }
}

#[test]
fn the_right_agents_get_the_work() {
    let played = play();
    let count = |n: usize| played.given[n].len();
    let between = |n: usize, from: usize, to: usize| {
        played.given[n].iter().filter(|task| (from..to).contains(*task)).count()
    };
    assert_eq!((0..AGENTS).map(count).sum::<usize>(), TASKS);

    // Better agents get more.
    let worst: usize = (0..6).filter(|n| *n != BROKEN).map(count).sum();
    let best: usize = (13..NEW).map(count).sum();
    assert!(best > 3 * worst, "the best {best}, the worst {worst}");

    // Everybody had a chance, the one that came late too, and at once.
    assert!((0..AGENTS).all(|n| count(n) >= 5), "{:?}", played.given);
    assert_eq!(between(NEW, 0, COMES), 0);
    assert!(between(NEW, COMES, COMES + 300) >= 5, "{}", between(NEW, COMES, COMES + 300));
    let usual = between(NEW, 8_000, TASKS);
    assert!(usual >= 150, "it is good, so it is asked as often as others: {usual}");

    // The broken one is out after as many failures as its breaker looks at, and what ran by then.
    let before = between(BROKEN, BREAKS - 1_000, BREAKS);
    assert!(before >= 60, "{before}");
    let given = &played.given[BROKEN];
    let failed: Vec<usize> =
        given.iter().copied().filter(|task| (BREAKS..MENDED).contains(task)).collect();
    let rules = BreakerRules::default();
    let until_open = rules.attempts_max + usize::try_from(CAPACITY).unwrap();
    assert!(failed.len() <= until_open + 12, "only probes after that: {}", failed.len());
    // It comes back.
    let after = between(BROKEN, MENDED + 1_000, TASKS);
    assert!(after >= 150, "{after}");
    let now = DateTime::from_timestamp(1_800_000_000 + 20_000, 0).unwrap();
    assert_eq!(played.agents[BROKEN].breaker.standing(now), Standing::Closed);
}
