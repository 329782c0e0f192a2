//! Which agents may not be asked to do a task, by which rule, and the score of the others: named parts
//! that add up to it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use super::{
    AgentType, Breaker, Complexity, Performance, Routing, Standing, Tier, words::utilisation,
};
use crate::plan::SessionType;

/// What each part of a score weighs. Those from `capability` to `complexity` are what an agent is
/// judged by, and their sum is multiplied by its tier; the others come on top.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Weights {
    pub capability: f64,
    pub performance: f64,
    pub load: f64,
    pub technology: f64,
    pub session_type: f64,
    pub complexity: f64,
    /// For who has done little so far.
    pub novelty: f64,
    /// Only where a task prefers a type, or agents.
    pub preferred_type: f64,
    pub preferred_agent: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            capability: 0.25,
            performance: 0.30,
            load: 0.15,
            technology: 0.15,
            session_type: 0.05,
            complexity: 0.10,
            novelty: 0.20,
            preferred_type: 0.30,
            preferred_agent: 0.20,
        }
    }
}

/// A weight that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no weight: write NAME=NUMBER, as in performance=0.5, with {1}")]
pub struct NoWeight(String, &'static str);

const NAMES: &str = "capability, performance, load, technology, session_type, complexity, novelty, \
                     preferred_type or preferred_agent, and numbers from 0 to 10";

impl Weights {
    /// The usual ones but for those that are named, as in `performance=0.5`.
    pub fn with(settings: &[String]) -> Result<Self, NoWeight> {
        let mut weights = Self::default();
        for setting in settings {
            weights.set(setting).ok_or_else(|| NoWeight(setting.clone(), NAMES))?;
        }
        Ok(weights)
    }

    fn set(&mut self, setting: &str) -> Option<()> {
        let (name, value) = setting.split_once('=')?;
        let weight = match name.trim() {
            "capability" => &mut self.capability,
            "performance" => &mut self.performance,
            "load" => &mut self.load,
            "technology" => &mut self.technology,
            "session_type" => &mut self.session_type,
            "complexity" => &mut self.complexity,
            "novelty" => &mut self.novelty,
            "preferred_type" => &mut self.preferred_type,
            "preferred_agent" => &mut self.preferred_agent,
            _ => return None,
        };
        *weight = value.trim().parse().ok().filter(|it| (0.0..=10.0).contains(it))?;
        Some(())
    }

    /// What all parts together can come to: a score is its points of these.
    fn most(&self, wish: &Wish) -> f64 {
        let judged = self.capability
            + self.performance
            + self.load
            + self.technology
            + self.session_type
            + self.complexity;
        let of_type = if wish.kind.is_some() { self.preferred_type } else { 0.0 };
        let of_agent = if wish.agents.is_empty() { 0.0 } else { self.preferred_agent };
        let most = judged * Tier::Elite.multiplier() + self.novelty + of_type + of_agent;
        if most > 0.0 { most } else { 1.0 }
    }
}

/// What a task asks of the agent that does it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// All of them have to be offered.
    pub requires: Vec<String>,
    /// The rest is preferred: nobody is left out for it.
    pub kind: Option<AgentType>,
    /// Names of agents.
    pub agents: Vec<String>,
    pub technologies: Vec<String>,
    pub complexity: Option<Complexity>,
    pub session_type: Option<SessionType>,
    /// Nobody below it is asked.
    pub tier: Option<Tier>,
}

/// An agent as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub id: Uuid,
    pub name: String,
    pub kind: AgentType,
    /// `*` stands for every capability.
    pub capabilities: Vec<String>,
    pub technologies: Vec<String>,
    pub avoids: Vec<String>,
    pub complexity: Complexity,
    /// The types of sessions that it is meant for; none: all.
    pub session_types: Vec<SessionType>,
    pub capacity: i32,
    pub running: i32,
    pub performance: Performance,
    pub breaker: Breaker,
    pub is_live: bool,
    pub drained: Drained,
    /// It serves one other session alone.
    pub is_elsewhere: bool,
}

/// Whether an agent gets anything new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drained {
    #[default]
    No,
    Yes,
    Maintenance,
}

/// Why an agent is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Its lease has run out.
    Offline,
    Maintenance,
    Drained,
    /// It serves one other session alone.
    OtherSession,
    /// It does not offer all that is required.
    Capabilities,
    /// It avoids one of the technologies.
    AvoidedTechnology,
    /// It fails too often.
    BreakerOpen,
    /// It failed too often, and is tried with one task at a time.
    BreakerHalfOpen,
    /// It runs as much as it can.
    Capacity,
    Tier,
}

/// A rule that leaves an agent out, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Excluded {
    pub rule: Rule,
    pub message: String,
}

/// One part of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Part {
    pub name: &'static str,
    pub weight: f64,
    /// Mostly between 0 and 1; of the tier what it adds to the judged parts, which may be negative.
    pub value: f64,
    /// What it gives to the score.
    pub points: f64,
}

/// What speaks for an agent, between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Score {
    /// The sum of the points of all parts.
    pub total: f64,
    pub tier: Tier,
    pub parts: Vec<Part>,
}

/// What was found about one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<'a> {
    pub candidate: &'a Candidate,
    /// By which rules it is left out; it may be asked where there are none.
    pub excluded: Vec<Excluded>,
    pub score: Score,
}

/// Every rule that leaves the agent out.
pub fn excluded(
    agent: &Candidate,
    wish: &Wish,
    routing: &Routing,
    now: DateTime<Utc>,
) -> Vec<Excluded> {
    let mut found = Vec::new();
    let mut add = |rule, message: String| found.push(Excluded { rule, message });
    if !agent.is_live {
        add(Rule::Offline, "it is not there: its lease has run out".to_owned());
    }
    match agent.drained {
        Drained::No => {}
        Drained::Yes => add(Rule::Drained, "it is drained".to_owned()),
        Drained::Maintenance => add(Rule::Maintenance, "it is in maintenance".to_owned()),
    }
    if agent.is_elsewhere {
        add(Rule::OtherSession, "it serves one other session alone".to_owned());
    }
    let missing: Vec<&String> = wish.requires.iter().filter(|it| !agent.offers(it)).collect();
    if !missing.is_empty() {
        add(Rule::Capabilities, format!("it does not offer {}", told(&missing)));
    }
    let avoided: Vec<&String> =
        wish.technologies.iter().filter(|it| agent.avoids.contains(it)).collect();
    if !avoided.is_empty() {
        add(Rule::AvoidedTechnology, format!("it avoids {}", told(&avoided)));
    }
    match agent.breaker.standing(now) {
        Standing::Closed => {}
        Standing::Open { until, .. } => {
            let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            add(Rule::BreakerOpen, format!("it failed too often: left alone until {until}"));
        }
        Standing::HalfOpen { .. } if agent.running == 0 => {}
        Standing::HalfOpen { .. } => {
            let why = "it failed too often, and is tried with one task at a time";
            add(Rule::BreakerHalfOpen, why.to_owned());
        }
    }
    if agent.running >= agent.capacity {
        let Candidate { running, capacity, .. } = agent;
        add(Rule::Capacity, format!("it runs {running} of {capacity} at once"));
    }
    let tier = agent.performance.tier(now, &routing.smoothing);
    if let Some(least) = wish.tier.filter(|least| tier < *least) {
        add(Rule::Tier, format!("its tier is {tier}, below {least}"));
    }
    found
}

fn told(names: &[&String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl Candidate {
    pub fn offers(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|it| it == "*" || it == capability)
    }

    /// What it can do by name counts more than what it says to be able to do with everything else.
    fn fit(&self, requires: &[String]) -> f64 {
        share(requires.iter().map(|name| match self.capabilities.contains(name) {
            true => 1.0,
            false if self.offers(name) => 0.7,
            false => 0.0,
        }))
    }

    fn complexity_fit(&self, asked: Option<Complexity>) -> f64 {
        let Some(asked) = asked else { return 1.0 };
        match self.complexity.code() - asked.code() {
            0 => 1.0,
            1 => 0.8,
            2.. | -1 => 0.6,
            _ => 0.3,
        }
    }
}

/// The mean, 1 of nothing.
fn share(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), it| (sum + it, count + 1));
    if count == 0 { 1.0 } else { sum / f64::from(count) }
}

const fn yes(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// What speaks for the agent, whether or not a rule leaves it out.
pub fn score(agent: &Candidate, wish: &Wish, routing: &Routing, now: DateTime<Utc>) -> Score {
    let Routing { weights, smoothing, .. } = routing;
    let performance = &agent.performance;
    let technology = share(wish.technologies.iter().map(|it| yes(agent.technologies.contains(it))));
    let session_type = match wish.session_type {
        Some(kind) if !agent.session_types.is_empty() && !agent.session_types.contains(&kind) => {
            0.3
        }
        _ => 1.0,
    };
    let load = (1.0 - utilisation(agent.running, agent.capacity)).clamp(0.0, 1.0);
    let judged = [
        ("capability", weights.capability, agent.fit(&wish.requires)),
        (
            "performance",
            weights.performance,
            performance.success_at(&wish.requires, now, smoothing),
        ),
        ("load", weights.load, load),
        ("technology", weights.technology, technology),
        ("session_type", weights.session_type, session_type),
        ("complexity", weights.complexity, agent.complexity_fit(wish.complexity)),
    ];
    let sum: f64 = judged.iter().map(|(_, weight, value)| weight * value).sum();
    let tier = performance.tier(now, smoothing);
    let mut all = judged.to_vec();
    all.push(("tier", sum, tier.multiplier() - 1.0));
    all.push(("novelty", weights.novelty, performance.novelty(now, smoothing)));
    if let Some(kind) = wish.kind {
        all.push(("preferred_type", weights.preferred_type, yes(agent.kind == kind)));
    }
    if !wish.agents.is_empty() {
        let is_named = wish.agents.contains(&agent.name);
        all.push(("preferred_agent", weights.preferred_agent, yes(is_named)));
    }
    let most = weights.most(wish);
    let part = |(name, weight, value)| Part { name, weight, value, points: weight * value / most };
    let parts: Vec<Part> = all.into_iter().map(part).collect();
    Score { total: parts.iter().map(|part| part.points).sum(), tier, parts }
}

/// All agents: first those that may be asked, the best of them first, then those that may not.
pub fn rank<'a>(
    agents: &'a [Candidate],
    wish: &Wish,
    routing: &Routing,
    now: DateTime<Utc>,
) -> Vec<Ranked<'a>> {
    let of = |candidate: &'a Candidate| Ranked {
        candidate,
        excluded: excluded(candidate, wish, routing, now),
        score: score(candidate, wish, routing, now),
    };
    let mut ranked: Vec<Ranked<'a>> = agents.iter().map(of).collect();
    ranked.sort_by(|one, other| {
        let is_out = |it: &Ranked<'_>| !it.excluded.is_empty();
        (is_out(one).cmp(&is_out(other)))
            .then(other.score.total.total_cmp(&one.score.total))
            .then(one.candidate.running.cmp(&other.candidate.running))
            .then(one.candidate.name.cmp(&other.candidate.name))
            .then(one.candidate.id.cmp(&other.candidate.id))
    });
    ranked
}
