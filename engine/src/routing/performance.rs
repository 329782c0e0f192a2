//! How well an agent did: attempts that ended, older ones counting less, and success smoothed so that
//! who has done nothing yet is neither trusted blindly nor shut out.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Tier;
use crate::outcome::{ErrorClass, Outcome};

/// How attempts become a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothing {
    /// What is expected of who has done nothing.
    pub prior: f64,
    /// As many attempts as the expectation counts for.
    pub weight: f64,
    /// After this long an attempt counts half.
    pub half_life: TimeDelta,
}

impl Default for Smoothing {
    fn default() -> Self {
        Self { prior: 0.8, weight: 5.0, half_life: TimeDelta::days(7) }
    }
}

/// How an attempt ended, as far as its agent had to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Good,
    Bad,
    /// The agent was lost with it.
    Crashed,
}

/// What an outcome says about the agent; `None` where it had no part in it: what people decided, what
/// could not even be rendered, what was handed back.
pub const fn counted(outcome: &Outcome) -> Option<End> {
    match outcome {
        Outcome::Succeeded(_) => Some(End::Good),
        Outcome::Failed { failure, .. } => match failure.class {
            ErrorClass::Error
            | ErrorClass::Timeout
            | ErrorClass::Schema
            | ErrorClass::TooLarge
            | ErrorClass::MaxRounds => Some(End::Bad),
            ErrorClass::Crash => Some(End::Crashed),
            ErrorClass::Template
            | ErrorClass::Rejected
            | ErrorClass::Cancelled
            | ErrorClass::Budget
            | ErrorClass::NoAgent => None,
        },
        Outcome::Released | Outcome::Deferred(_) | Outcome::Parked => None,
    }
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub end: End,
    /// What its task required.
    pub requires: Vec<String>,
    pub took_ms: u64,
    /// Unknown is not zero.
    pub tokens: Option<u64>,
    pub cost_usd: Option<f64>,
}

/// Sums over attempts, each counting less the longer ago it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    attempts: f64,
    good: f64,
    ms: f64,
    /// Attempts whose tokens are known, and those.
    metered: f64,
    tokens: f64,
    priced: f64,
    cost_usd: f64,
    /// The moment as of which the sums are.
    at: Option<DateTime<Utc>>,
}

impl Track {
    /// The same as of a later moment.
    fn aged(self, now: DateTime<Utc>, half_life: TimeDelta) -> Self {
        let Some(at) = self.at.filter(|at| *at < now) else {
            return Self { at: self.at.or(Some(now)), ..self };
        };
        let halves = (now - at).as_seconds_f64() / half_life.as_seconds_f64().max(1.0);
        let left = 0.5_f64.powf(halves);
        Self {
            attempts: self.attempts * left,
            good: self.good * left,
            ms: self.ms * left,
            metered: self.metered * left,
            tokens: self.tokens * left,
            priced: self.priced * left,
            cost_usd: self.cost_usd * left,
            at: Some(now),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sums of what is far below 2^52")]
    fn add(&mut self, work: &Work) {
        self.attempts += 1.0;
        self.good += f64::from(u8::from(work.end == End::Good));
        self.ms += work.took_ms as f64;
        if let Some(tokens) = work.tokens {
            self.metered += 1.0;
            self.tokens += tokens as f64;
        }
        if let Some(cost) = work.cost_usd {
            self.priced += 1.0;
            self.cost_usd += cost;
        }
    }

    fn rate(self, prior: f64, weight: f64) -> f64 {
        (self.good + prior * weight) / (self.attempts + weight).max(f64::MIN_POSITIVE)
    }
}

fn mean(sum: f64, of: f64) -> Option<f64> {
    (of > 1e-6).then(|| sum / of)
}

/// How well an agent did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Performance {
    pub succeeded: u64,
    pub failed: u64,
    pub crashed: u64,
    recent: Track,
    capabilities: BTreeMap<String, Track>,
}

/// Capabilities that are told apart; of more the least used are forgotten.
const CAPABILITIES_MAX: usize = 64;

impl Performance {
    /// Counts an attempt that ended at `at`.
    pub fn fold(&mut self, work: &Work, at: DateTime<Utc>, smoothing: &Smoothing) {
        match work.end {
            End::Good => self.succeeded += 1,
            End::Bad => self.failed += 1,
            End::Crashed => self.crashed += 1,
        }
        self.recent = self.recent.aged(at, smoothing.half_life);
        self.recent.add(work);
        for capability in &work.requires {
            let track = self.capabilities.entry(capability.clone()).or_default();
            *track = track.aged(at, smoothing.half_life);
            track.add(work);
        }
        while self.capabilities.len() > CAPABILITIES_MAX {
            let least = |it: &(&String, &Track)| it.1.attempts;
            let rarest = self
                .capabilities
                .iter()
                .min_by(|one, other| least(one).total_cmp(&least(other)))
                .map(|(name, _)| name.clone());
            rarest.and_then(|name| self.capabilities.remove(&name));
        }
    }

    /// How many attempts count now.
    pub fn weight(&self, now: DateTime<Utc>, smoothing: &Smoothing) -> f64 {
        self.recent.aged(now, smoothing.half_life).attempts
    }

    /// The smoothed success rate.
    pub fn success(&self, now: DateTime<Utc>, smoothing: &Smoothing) -> f64 {
        self.recent.aged(now, smoothing.half_life).rate(smoothing.prior, smoothing.weight)
    }

    /// The same for what a task requires: the mean over its capabilities, of each as far as the agent
    /// has shown it, and otherwise as it does in all.
    pub fn success_at(
        &self,
        requires: &[String],
        now: DateTime<Utc>,
        smoothing: &Smoothing,
    ) -> f64 {
        let whole = self.success(now, smoothing);
        let of = |name: &String| {
            let track = self.capabilities.get(name).copied().unwrap_or_default();
            track.aged(now, smoothing.half_life).rate(whole, smoothing.weight)
        };
        let rates: Vec<f64> = requires.iter().map(of).collect();
        let count = u32::try_from(rates.len()).unwrap_or(u32::MAX);
        if count == 0 { whole } else { rates.iter().sum::<f64>() / f64::from(count) }
    }

    pub fn tier(&self, now: DateTime<Utc>, smoothing: &Smoothing) -> Tier {
        Tier::of(self.success(now, smoothing))
    }

    /// 1 for who has done nothing, falling with every attempt and rising again while nothing is done.
    pub fn novelty(&self, now: DateTime<Utc>, smoothing: &Smoothing) -> f64 {
        smoothing.weight / (self.weight(now, smoothing) + smoothing.weight).max(f64::MIN_POSITIVE)
    }

    /// How long an attempt takes.
    pub fn duration_ms(&self) -> Option<f64> {
        mean(self.recent.ms, self.recent.attempts)
    }

    /// What an attempt takes, of those that say it.
    pub fn tokens(&self) -> Option<f64> {
        mean(self.recent.tokens, self.recent.metered)
    }

    pub fn cost_usd(&self) -> Option<f64> {
        mean(self.recent.cost_usd, self.recent.priced)
    }

    /// The smoothed rates of the capabilities that it has shown.
    pub fn by_capability(
        &self,
        now: DateTime<Utc>,
        smoothing: &Smoothing,
    ) -> BTreeMap<String, f64> {
        let rate = |name: &String| self.success_at(std::slice::from_ref(name), now, smoothing);
        self.capabilities.keys().map(|name| (name.clone(), rate(name))).collect()
    }
}
