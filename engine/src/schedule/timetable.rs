//! A cron in a zone: which instants it means through changes of the clock.
//!
//! A wall time that a change skips fires at the first valid instant after; one that repeats fires
//! the first time; instants that several wall times fall on fire once. Where the hour is `*` or
//! `*/n`, fires follow elapsed time instead: a repeated hour fires again, and a skipped wall time is
//! reached as much later as the clock was put forward.

use chrono::{
    DateTime, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc,
};
use chrono_tz::Tz;

use super::Cron;

/// No change of a clock, and no difference between two, is larger.
const REACH: TimeDelta = TimeDelta::hours(26);

/// The instants of a cron in a zone.
#[derive(Debug, Clone, Copy)]
pub struct Timetable<'r> {
    pub cron: &'r Cron,
    pub zone: Tz,
}

impl Timetable<'_> {
    /// The first instant after this one; `None` after the year 2100.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut best: Option<DateTime<Utc>> = None;
        for wall in self.cron.wall_times(self.wall(after) - self.reach(after)) {
            if best.is_some_and(|best| wall > self.wall(best) + self.reach(best)) {
                break;
            }
            for instant in self.instants(wall).into_iter().flatten() {
                if instant > after && best.is_none_or(|best| instant < best) {
                    best = Some(instant);
                }
            }
            // Without repetitions, later wall times are never earlier instants.
            if best.is_some() && !self.cron.follows_elapsed {
                break;
            }
        }
        best
    }

    /// What a clock on the wall shows.
    fn wall(&self, at: DateTime<Utc>) -> NaiveDateTime {
        at.naive_utc() + self.offset(at)
    }

    fn offset(&self, at: DateTime<Utc>) -> TimeDelta {
        let offset = self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// How far wall times and instants may disagree around here: not at all far from any change.
    fn reach(&self, at: DateTime<Utc>) -> TimeDelta {
        let here = self.offset(at);
        // No two changes are nearer to each other than half of it.
        let is_calm = [-2, -1, 1, 2].iter().all(|half| self.offset(at + REACH / 2 * *half) == here);
        if is_calm { TimeDelta::zero() } else { REACH }
    }

    /// When a wall time fires: once, or twice where it repeats and fires follow elapsed time.
    fn instants(&self, wall: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        match self.zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(at) => [Some(at.to_utc()), None],
            MappedLocalTime::Ambiguous(one, other) => {
                let (first, second) = (one.min(other).to_utc(), one.max(other).to_utc());
                [Some(first), Some(second).filter(|_| self.cron.follows_elapsed)]
            }
            MappedLocalTime::None => [Some(self.instant_of_skipped(wall)), None],
        }
    }

    fn instant_of_skipped(&self, wall: NaiveDateTime) -> DateTime<Utc> {
        // The clock shows less than `wall` until the change and more from it on.
        let (mut before, mut change) = (wall.and_utc() - REACH, wall.and_utc() + REACH);
        while change - before > TimeDelta::seconds(1) {
            let middle = before + TimeDelta::seconds((change - before).num_seconds() / 2);
            if self.wall(middle) < wall {
                before = middle;
            } else {
                change = middle;
            }
        }
        if self.cron.follows_elapsed { wall.and_utc() - self.offset(before) } else { change }
    }
}

#[cfg(test)]
mod tests;
