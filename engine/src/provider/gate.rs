//! The gate before a provider's model: buckets that fill by the minute, and a breaker. A refusal
//! (429) opens it for as long as the provider says; then one turn tries, and with every one that gets
//! an answer twice as many may be under way. It is a rule about numbers and times: whoever keeps the
//! gate sees to it that one asks at a time.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Quota;

/// How long the gate is shut after a refusal that does not say; twice as long after each in a row.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(15);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(10);
/// What a provider says is believed up to here.
const LONGEST_TOLD: TimeDelta = TimeDelta::hours(24);
/// Turns that may be under way while the gate recovers, before any number may.
const ROOM_MAX: i32 = 32;
/// Who was let through and said nothing for so long is not waited for any more.
const ANSWER: TimeDelta = TimeDelta::seconds(60);
/// When whoever waits for the turns under way asks again.
const ASK_AGAIN: TimeDelta = TimeDelta::seconds(2);
/// A bucket of turns holds what comes in so long.
const BUCKET_SECS: f64 = 10.0;

/// Whether turns are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    Closed,
    /// The provider refused: none are.
    Open,
    /// A few are, to see whether it answers.
    Recovering,
}

impl Breaker {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Recovering];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Recovering => "recovering",
        }
    }
}

/// What whoever asks to begin a turn is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// So many turns may begin.
    Granted(u32),
    /// None may before then.
    Wait(DateTime<Utc>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub quota: Quota,
    /// What is in the buckets. Tokens are taken when they are known, so there may be a debt.
    pub turns: f64,
    pub tokens: f64,
    pub filled_at: DateTime<Utc>,
    pub breaker: Breaker,
    /// The gate is open again then.
    pub open_until: Option<DateTime<Utc>>,
    /// Refusals in a row, each window counted once.
    pub refusals: i32,
    /// While it recovers: how many turns may be under way, and how many are.
    pub room: i32,
    pub under_way: i32,
    pub granted_at: Option<DateTime<Utc>>,
}

impl Gate {
    /// One that nobody has asked yet, with full buckets.
    pub fn new(quota: Quota, now: DateTime<Utc>) -> Self {
        let mut gate = Self {
            quota,
            turns: 0.0,
            tokens: 0.0,
            filled_at: now,
            breaker: Breaker::Closed,
            open_until: None,
            refusals: 0,
            room: 0,
            under_way: 0,
            granted_at: None,
        };
        (gate.turns, gate.tokens) = (gate.turns_max(), gate.tokens_max());
        gate
    }

    /// Another quota holds from now on; the buckets keep what fits.
    pub fn limit(&mut self, quota: Quota, now: DateTime<Utc>) {
        self.fill(now);
        let had = std::mem::replace(&mut self.quota, quota);
        if had.turns.is_none() {
            self.turns = self.turns_max();
        }
        if had.tokens.is_none() {
            self.tokens = self.tokens_max();
        }
        self.turns = self.turns.min(self.turns_max());
        self.tokens = self.tokens.min(self.tokens_max());
    }

    /// Whether up to `want` turns may begin.
    pub fn ask(&mut self, now: DateTime<Utc>, want: u32) -> Answer {
        self.fill(now);
        if let Some(until) = self.open_until.filter(|until| *until > now) {
            return Answer::Wait(until);
        }
        if self.breaker == Breaker::Open {
            (self.breaker, self.open_until) = (Breaker::Recovering, None);
            (self.room, self.under_way) = (1, 0);
        }
        let is_recovering = self.breaker == Breaker::Recovering;
        if is_recovering && self.under_way >= self.room {
            let given_up = self.granted_at.map(|at| at + ANSWER).filter(|at| *at > now);
            if let Some(at) = given_up {
                return Answer::Wait(at.min(now + ASK_AGAIN));
            }
            self.under_way = 0;
        }
        if let Some(at) = self.empty_until(now) {
            return Answer::Wait(at);
        }
        let mut granted = if is_recovering { 1 } else { want.max(1) };
        if self.quota.turns.is_some() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least 1"
            )]
            let there = self.turns as u32;
            granted = granted.min(there);
            self.turns -= f64::from(granted);
        }
        self.under_way += i32::from(is_recovering);
        self.granted_at = Some(now);
        Answer::Granted(granted)
    }

    /// The provider answered a turn.
    pub fn passed(&mut self, now: DateTime<Utc>) {
        match self.breaker {
            Breaker::Closed => self.refusals = 0,
            Breaker::Open => {}
            Breaker::Recovering => {
                self.under_way = (self.under_way - 1).max(0);
                self.room = self.room.saturating_mul(2);
                if self.room > ROOM_MAX {
                    (self.breaker, self.room, self.under_way) = (Breaker::Closed, 0, 0);
                    self.refusals = 0;
                    self.fill(now);
                }
            }
        }
    }

    /// The provider refused a turn, and may have said for how long. What was under way when the gate
    /// was shut already makes it no later than that.
    pub fn refused(&mut self, now: DateTime<Utc>, told: Option<TimeDelta>) {
        let is_shut = self.open_until.is_some_and(|until| until > now);
        if !is_shut {
            self.refusals = self.refusals.saturating_add(1);
        }
        let doubled = (1..self.refusals.clamp(1, 8)).fold(FIRST_PAUSE, |pause, _| pause * 2);
        let pause = match told {
            Some(told) => told.clamp(TimeDelta::seconds(1), LONGEST_TOLD),
            None if is_shut => return,
            None => doubled.min(LONGEST_PAUSE),
        };
        let until = self.open_until.map_or(now + pause, |until| until.max(now + pause));
        (self.breaker, self.open_until) = (Breaker::Open, Some(until));
        (self.room, self.under_way) = (0, 0);
    }

    /// Turns took so many tokens.
    pub fn used(&mut self, now: DateTime<Utc>, tokens: u64) {
        self.fill(now);
        if self.quota.tokens.is_some() {
            self.tokens -= number(tokens);
        }
    }

    /// When a bucket that is empty has something again.
    fn empty_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let missing = |level: f64, least: f64, per_minute: f64| {
            let seconds = (least - level) * 60.0 / per_minute.max(f64::MIN_POSITIVE);
            (level < least).then(|| {
                let ms = (seconds.min(86_400.0) * 1_000.0).ceil();
                #[expect(clippy::cast_possible_truncation, reason = "a day at most")]
                let wait = TimeDelta::milliseconds(ms as i64);
                now + wait
            })
        };
        let turns = self.quota.turns.and_then(|rate| missing(self.turns, 1.0, f64::from(rate)));
        let tokens = self.quota.tokens.and_then(|rate| missing(self.tokens, 1.0, number(rate)));
        turns.max(tokens)
    }

    fn fill(&mut self, now: DateTime<Utc>) {
        let minutes = (now - self.filled_at).as_seconds_f64().max(0.0) / 60.0;
        self.filled_at = self.filled_at.max(now);
        if let Some(rate) = self.quota.turns {
            self.turns = (self.turns + minutes * f64::from(rate)).min(self.turns_max());
        }
        if let Some(rate) = self.quota.tokens {
            self.tokens = (self.tokens + minutes * number(rate)).min(self.tokens_max());
        }
    }

    fn turns_max(&self) -> f64 {
        self.quota.turns.map_or(0.0, |rate| (f64::from(rate) / 60.0 * BUCKET_SECS).max(1.0))
    }

    fn tokens_max(&self) -> f64 {
        self.quota.tokens.map_or(0.0, number)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few tokens in many are nothing")]
const fn number(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
    }

    #[test]
    fn a_refusal_shuts_it_for_as_long_as_the_provider_says() {
        let mut gate = Gate::new(Quota::default(), at(0));
        assert_eq!(gate.ask(at(0), 5), Answer::Granted(5), "nothing is limited");
        gate.refused(at(1), Some(TimeDelta::seconds(40)));
        assert_eq!(gate.ask(at(2), 1), Answer::Wait(at(41)));
        gate.refused(at(3), Some(TimeDelta::seconds(5)));
        gate.refused(at(3), None);
        assert_eq!(gate.ask(at(4), 1), Answer::Wait(at(41)), "what was under way says nothing new");
        assert_eq!(gate.refusals, 1);
    }

    #[test]
    fn one_tries_first_and_then_twice_as_many_each_time() {
        let mut gate = Gate::new(Quota::default(), at(0));
        gate.refused(at(0), Some(TimeDelta::seconds(10)));
        assert_eq!(gate.ask(at(10), 9), Answer::Granted(1));
        assert_eq!(gate.ask(at(10), 9), Answer::Wait(at(12)), "one is under way");
        gate.passed(at(11));
        let mut granted = 1;
        for _ in 0..5 {
            while let Answer::Granted(1) = gate.ask(at(11), 9) {
                granted += 1;
                assert!(granted < 100);
            }
            gate.passed(at(11));
        }
        assert_eq!(gate.breaker, Breaker::Closed);
        assert_eq!(gate.ask(at(12), 9), Answer::Granted(9));
    }

    #[test]
    fn refusals_in_a_row_shut_it_for_longer_and_a_lost_try_is_not_waited_for() {
        let mut gate = Gate::new(Quota::default(), at(0));
        gate.refused(at(0), None);
        assert_eq!(gate.ask(at(0), 1), Answer::Wait(at(15)));
        assert_eq!(gate.ask(at(15), 1), Answer::Granted(1));
        gate.refused(at(16), None);
        assert_eq!(gate.ask(at(16), 1), Answer::Wait(at(46)));
        assert_eq!(gate.ask(at(46), 1), Answer::Granted(1));
        assert_eq!(gate.ask(at(47), 1), Answer::Wait(at(49)));
        assert_eq!(gate.ask(at(106), 1), Answer::Granted(1), "whoever tried is gone");
    }

    #[test]
    fn turns_and_tokens_come_by_the_minute() {
        let quota = Quota { turns: Some(6), tokens: Some(600) };
        let mut gate = Gate::new(quota, at(0));
        assert_eq!(gate.ask(at(0), 4), Answer::Granted(1), "six a minute");
        assert_eq!(gate.ask(at(0), 1), Answer::Wait(at(10)));
        assert_eq!(gate.ask(at(10), 1), Answer::Granted(1));
        gate.used(at(10), 1_199);
        assert_eq!(gate.ask(at(20), 1), Answer::Wait(at(70)), "599 are owed");
        gate.limit(Quota::default(), at(20));
        assert_eq!(gate.ask(at(20), 3), Answer::Granted(3));
    }
}
