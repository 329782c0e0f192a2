//! The circuit breaker of an agent: who fails again and again is left alone for a while, then tried
//! with one attempt at a time, and is back when that goes well.
//!
//! Closed, it opens when too few of the last attempts went well. Open, it lets nothing through until
//! its time is over; half open, one attempt at a time: enough good ones close it, a bad one opens it
//! again, for twice as long.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerRules {
    /// Attempts that ended longer ago say nothing.
    pub window: TimeDelta,
    /// The newest attempts that are looked at, and how many there have to be.
    pub attempts_max: usize,
    pub attempts_min: usize,
    /// It opens when a smaller part of them went well.
    pub success_min: f64,
    pub open_for: TimeDelta,
    pub open_for_max: TimeDelta,
    /// Good attempts in a row that close it.
    pub probes: u32,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            window: TimeDelta::minutes(10),
            attempts_max: 10,
            attempts_min: 5,
            success_min: 0.3,
            open_for: TimeDelta::minutes(1),
            open_for_max: TimeDelta::minutes(15),
            probes: 2,
        }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    Closed,
    Open { since: DateTime<Utc>, until: DateTime<Utc> },
    HalfOpen { since: DateTime<Utc> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Trip {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// How often in a row.
    times: u32,
    /// Good attempts since.
    good: u32,
}

/// The breaker of one agent, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// How the newest attempts ended, oldest first; none while it is not closed.
    recent: VecDeque<(DateTime<Utc>, bool)>,
    trip: Option<Trip>,
}

impl Breaker {
    pub const fn is_closed(&self) -> bool {
        self.trip.is_none()
    }

    pub fn standing(&self, now: DateTime<Utc>) -> Standing {
        match self.trip {
            None => Standing::Closed,
            Some(Trip { since, until, .. }) if now < until => Standing::Open { since, until },
            Some(Trip { until, .. }) => Standing::HalfOpen { since: until },
        }
    }

    /// Whether an agent with so many attempts under way may be given one more.
    pub fn lets_through(&self, running: i32, now: DateTime<Utc>) -> bool {
        match self.standing(now) {
            Standing::Closed => true,
            Standing::Open { .. } => false,
            Standing::HalfOpen { .. } => running == 0,
        }
    }

    /// Counts an attempt that ended at `at`.
    pub fn fold(&mut self, is_good: bool, at: DateTime<Utc>, rules: &BreakerRules) {
        match (self.trip, self.standing(at)) {
            // It had begun before: that is known already.
            (_, Standing::Open { .. }) => {}
            (Some(trip), Standing::HalfOpen { .. }) if is_good => {
                let good = trip.good + 1;
                self.trip = (good < rules.probes).then_some(Trip { good, ..trip });
            }
            (Some(trip), Standing::HalfOpen { .. }) => self.open(trip.times + 1, at, rules),
            _ => {
                self.recent.push_back((at, is_good));
                let from = at - rules.window;
                while self.recent.len() > rules.attempts_max
                    || self.recent.front().is_some_and(|(when, _)| *when < from)
                {
                    self.recent.pop_front();
                }
                if self.fails_too_often(rules) {
                    self.open(1, at, rules);
                }
            }
        }
    }

    fn fails_too_often(&self, rules: &BreakerRules) -> bool {
        let good = self.recent.iter().filter(|(_, is_good)| *is_good).count();
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.recent.len() >= rules.attempts_min
            && number(good) < rules.success_min * number(self.recent.len())
    }

    fn open(&mut self, times: u32, at: DateTime<Utc>, rules: &BreakerRules) {
        let doubled = rules.open_for * 2_i32.pow((times - 1).min(10));
        let until = at + doubled.min(rules.open_for_max);
        self.recent.clear();
        self.trip = Some(Trip { since: at, until, times, good: 0 });
    }
}
