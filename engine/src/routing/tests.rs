//! Rules about agents, as tables of cases and properties.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    outcome::{ErrorClass, Failure, Outcome},
    plan::SessionType,
};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn agent(name: &str) -> Candidate {
    Candidate {
        id: Uuid::nil(),
        name: name.to_owned(),
        kind: AgentType::Implementer,
        capabilities: names(&["code_generation"]),
        technologies: Vec::new(),
        avoids: Vec::new(),
        complexity: Complexity::Medium,
        session_types: Vec::new(),
        capacity: 5,
        running: 0,
        performance: Performance::default(),
        breaker: Breaker::default(),
        is_live: true,
        drained: Drained::No,
        is_elsewhere: false,
    }
}

fn work(end: End, requires: &[&str]) -> Work {
    Work { end, requires: names(requires), took_ms: 1_000, tokens: None, cost_usd: None }
}

fn after(good: u32, bad: u32) -> Performance {
    let mut performance = Performance::default();
    for _ in 0..good {
        performance.fold(&work(End::Good, &[]), now(), &Smoothing::default());
    }
    for _ in 0..bad {
        performance.fold(&work(End::Bad, &[]), now(), &Smoothing::default());
    }
    performance
}

#[test]
fn words_are_read_as_they_are_written() {
    for kind in AgentType::ALL {
        assert_eq!(kind.to_string().parse(), Ok(*kind));
        assert_eq!(AgentType::from_code(kind.code()), Some(*kind));
        assert!(kind.primary().iter().all(|name| CAPABILITIES.contains(name)), "{kind}");
        assert!(!kind.primary().is_empty(), "{kind}");
    }
    let said = "coder".parse::<AgentType>().unwrap_err();
    assert!(said.starts_with("`coder` is no type of agents: one of architect, "), "{said}");
    let mut known = CAPABILITIES.to_vec();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), 33);
    assert!(known.iter().all(|name| crate::capability::is_capability(name)));
    assert_eq!(AgentType::of_capabilities(&names(&["code_review", "rust"])), AgentType::Reviewer);
    assert_eq!(AgentType::of_capabilities(&names(&["*"])), AgentType::Implementer);
}

#[test]
fn tiers_follow_from_what_was_done_and_who_did_nothing_is_competent() {
    let smoothing = Smoothing::default();
    for (good, bad, tier) in [
        (0, 0, Tier::Competent),
        (1, 0, Tier::Competent),
        (0, 1, Tier::Trainee),
        (20, 0, Tier::Elite),
        (18, 2, Tier::Advanced),
        (3, 8, Tier::Degraded),
    ] {
        assert_eq!(after(good, bad).tier(now(), &smoothing), tier, "{good} good, {bad} bad");
    }
    // What went wrong is forgiven in the end.
    let later = now() + TimeDelta::days(60);
    assert_eq!(after(3, 8).tier(later, &smoothing), Tier::Competent);
}

#[test]
fn a_capability_counts_by_its_own_attempts() {
    let smoothing = Smoothing::default();
    let mut performance = Performance::default();
    for n in 0..40 {
        let (end, name) =
            if n % 2 == 0 { (End::Good, "code_generation") } else { (End::Bad, "code_review") };
        performance.fold(&work(end, &[name]), now(), &smoothing);
    }
    let at = |name: &str| performance.success_at(&names(&[name]), now(), &smoothing);
    assert!(at("code_generation") > 0.9 && at("code_review") < 0.15);
    assert!((at("testing") - performance.success(now(), &smoothing)).abs() < 1e-9);
    assert_eq!((performance.succeeded, performance.failed), (20, 20));
    assert_eq!(performance.duration_ms(), Some(1_000.0));
    assert_eq!(performance.cost_usd(), None, "unknown is not zero");
}

#[test]
fn what_an_agent_has_no_part_in_does_not_count() {
    let of = |class| counted(&Outcome::failed(Failure::new(class, "")));
    let neutral: Vec<ErrorClass> =
        ErrorClass::ALL.into_iter().filter(|class| of(*class).is_none()).collect();
    use ErrorClass as C;
    assert_eq!(neutral, [C::Template, C::Rejected, C::Cancelled, C::Budget, C::NoAgent]);
    assert_eq!(counted(&Outcome::Released), None);
}

#[test]
fn each_rule_leaves_an_agent_out_by_its_name() {
    let routing = Routing::default();
    let wish = Wish {
        requires: names(&["code_generation"]),
        technologies: names(&["rust"]),
        tier: Some(Tier::Competent),
        ..Wish::default()
    };
    let mut tripped = Breaker::default();
    for _ in 0..5 {
        tripped.fold(false, now() - TimeDelta::seconds(90), &routing.breaker);
    }
    let mut open = Breaker::default();
    for _ in 0..5 {
        open.fold(false, now(), &routing.breaker);
    }
    let usual = agent("a");
    let cases = [
        (vec![], usual.clone()),
        (vec![], Candidate { breaker: tripped.clone(), ..usual.clone() }),
        (vec![Rule::Offline], Candidate { is_live: false, ..usual.clone() }),
        (vec![Rule::Drained], Candidate { drained: Drained::Yes, ..usual.clone() }),
        (vec![Rule::Maintenance], Candidate { drained: Drained::Maintenance, ..usual.clone() }),
        (vec![Rule::OtherSession], Candidate { is_elsewhere: true, ..usual.clone() }),
        (vec![Rule::Capabilities], Candidate { capabilities: names(&["x"]), ..usual.clone() }),
        (vec![Rule::AvoidedTechnology], Candidate { avoids: names(&["rust"]), ..usual.clone() }),
        (vec![Rule::BreakerOpen], Candidate { breaker: open, ..usual.clone() }),
        (vec![Rule::BreakerHalfOpen], Candidate { breaker: tripped, running: 1, ..usual.clone() }),
        (vec![Rule::Capacity], Candidate { running: 5, ..usual.clone() }),
        (vec![Rule::Tier], Candidate { performance: after(1, 9), ..usual.clone() }),
        (vec![Rule::Offline, Rule::Capacity], Candidate { is_live: false, running: 5, ..usual }),
    ];
    for (rules, candidate) in cases {
        let found = excluded(&candidate, &wish, &routing, now());
        let found: Vec<Rule> = found.into_iter().map(|it| it.rule).collect();
        assert_eq!(found, rules);
    }
}

#[test]
fn what_a_task_prefers_decides_between_equals() {
    let routing = Routing::default();
    let reviewer = Candidate { kind: AgentType::Reviewer, ..agent("b") };
    let rustacean = Candidate { technologies: names(&["rust"]), ..agent("c") };
    let expert = Candidate { complexity: Complexity::Expert, ..agent("d") };
    let planner = Candidate { session_types: vec![SessionType::Planning], ..agent("e") };
    let agents = [planner, agent("a"), reviewer, rustacean, expert];
    let best = |wish: Wish| rank(&agents, &wish, &routing, now())[0].candidate.name.clone();
    assert_eq!(best(Wish { session_type: Some(SessionType::Debug), ..Wish::default() }), "a");
    assert_eq!(best(Wish { kind: Some(AgentType::Reviewer), ..Wish::default() }), "b");
    assert_eq!(best(Wish { technologies: names(&["rust"]), ..Wish::default() }), "c");
    assert_eq!(best(Wish { complexity: Some(Complexity::Expert), ..Wish::default() }), "d");
    assert_eq!(best(Wish { agents: names(&["e"]), ..Wish::default() }), "e");
}

#[test]
fn weights_are_read_and_refused() {
    let weights = Weights::with(&names(&["load=1", "novelty = 0"])).unwrap();
    assert_eq!((weights.load, weights.novelty, weights.capability), (1.0, 0.0, 0.25));
    for wrong in ["load", "load=x", "load=-1", "lod=1", "load=NaN"] {
        assert!(Weights::with(&names(&[wrong])).is_err(), "{wrong}");
    }
}

#[test]
fn a_breaker_opens_is_tried_and_closes() {
    let rules = BreakerRules::default();
    let mut breaker = Breaker::default();
    let at = |secs: i64| now() + TimeDelta::seconds(secs);
    for n in 0..4 {
        breaker.fold(false, at(n), &rules);
        assert_eq!(breaker.standing(at(n)), Standing::Closed);
    }
    breaker.fold(false, at(4), &rules);
    assert_eq!(breaker.standing(at(5)), Standing::Open { since: at(4), until: at(64) });
    assert!(!breaker.lets_through(0, at(5)));
    // What had begun before changes nothing.
    breaker.fold(true, at(6), &rules);
    assert_eq!(breaker.standing(at(64)), Standing::HalfOpen { since: at(64) });
    assert!(breaker.lets_through(0, at(64)) && !breaker.lets_through(1, at(64)));
    breaker.fold(false, at(65), &rules);
    assert_eq!(breaker.standing(at(66)), Standing::Open { since: at(65), until: at(185) });
    breaker.fold(true, at(190), &rules);
    breaker.fold(true, at(195), &rules);
    assert_eq!(breaker.standing(at(195)), Standing::Closed);
    // It begins anew: one failure is no reason.
    breaker.fold(false, at(196), &rules);
    assert_eq!(breaker.standing(at(196)), Standing::Closed);
}

fn some_agent() -> impl Strategy<Value = Candidate> {
    let numbers = (0..40_u32, 0..40_u32, 0..7_i32, 1..6_i32);
    let choices = (0..8_usize, 0..4_usize, any::<bool>(), any::<bool>());
    (numbers, choices).prop_map(|((good, bad, running, capacity), (kind, level, all, rust))| {
        Candidate {
            kind: AgentType::ALL[kind],
            complexity: Complexity::ALL[level],
            capabilities: names(&[if all { "*" } else { "code_generation" }]),
            technologies: if rust { names(&["rust"]) } else { Vec::new() },
            performance: after(good, bad),
            running,
            capacity,
            ..agent("a")
        }
    })
}

proptest! {
    #[test]
    fn scores_are_between_0_and_1_and_their_parts_add_up(
        agents in prop::collection::vec(some_agent(), 1..8),
        prefers in any::<bool>(),
        weights in prop::array::uniform9(0.0..2.0_f64),
    ) {
        let [capability, performance, load, technology, session_type, complexity, novelty,
             preferred_type, preferred_agent] = weights;
        let weights = Weights { capability, performance, load, technology, session_type,
                                complexity, novelty, preferred_type, preferred_agent };
        let routing = Routing { weights, ..Routing::default() };
        let wish = Wish {
            requires: names(&["code_generation"]),
            kind: prefers.then_some(AgentType::Implementer),
            agents: if prefers { names(&["a"]) } else { Vec::new() },
            technologies: names(&["rust", "sql"]),
            complexity: Some(Complexity::Complex),
            ..Wish::default()
        };
        let ranked = rank(&agents, &wish, &routing, now());
        prop_assert_eq!(ranked.len(), agents.len());
        for it in &ranked {
            let sum: f64 = it.score.parts.iter().map(|part| part.points).sum();
            prop_assert!((sum - it.score.total).abs() < 1e-9);
            prop_assert!((-1e-9..=1.0 + 1e-9).contains(&it.score.total), "{:?}", it.score);
        }
        for pair in ranked.windows(2) {
            let is_out = |it: &Ranked<'_>| !it.excluded.is_empty();
            prop_assert!(is_out(&pair[0]) <= is_out(&pair[1]));
            let is_ordered = pair[0].score.total >= pair[1].score.total;
            prop_assert!(is_out(&pair[0]) != is_out(&pair[1]) || is_ordered);
        }
    }

    #[test]
    fn more_success_never_speaks_against_an_agent(good in 0..30_u32, bad in 0..30_u32) {
        let smoothing = Smoothing::default();
        let rate = |good, bad| after(good, bad).success(now(), &smoothing);
        prop_assert!(rate(good + 1, bad) > rate(good, bad));
        prop_assert!(rate(good, bad + 1) < rate(good, bad));
        prop_assert!((0.0..=1.0).contains(&rate(good, bad)));
    }

    #[test]
    fn a_breaker_never_stays_open(ends in prop::collection::vec((0..200_i64, any::<bool>()), 0..80)) {
        let rules = BreakerRules::default();
        let (mut breaker, mut at) = (Breaker::default(), now());
        for (wait, is_good) in ends {
            at += TimeDelta::seconds(wait);
            if breaker.lets_through(0, at) {
                breaker.fold(is_good, at, &rules);
            }
            if let Standing::Open { until, .. } = breaker.standing(at) {
                prop_assert!(until - at <= rules.open_for_max);
            }
            let kept = serde_json::to_value(&breaker).unwrap();
            prop_assert_eq!(&serde_json::from_value::<Breaker>(kept).unwrap(), &breaker);
        }
        prop_assert!(breaker.lets_through(0, at + rules.open_for_max));
    }
}
