//! One look at a schedule: which fires are due, what becomes of each, and what is due next.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CatchUp, Overlap, Rule, ScheduleId};

/// Fires that one turn handles at most.
const FIRES_MAX: usize = 200;
/// Fires that wait in line at most.
const QUEUED_MAX: u32 = 1_000;

/// A fire and the instant at which it is let go: later than its time where there is jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub fire: DateTime<Utc>,
    pub at: DateTime<Utc>,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The fire that comes next, or is due.
    pub next: DateTime<Utc>,
    /// The rule holds since then: times before it are nobody's, except for `next`.
    pub since: DateTime<Utc>,
    /// Fires that started a session or wait in line for it.
    pub runs: u32,
    /// Sessions that have not ended.
    pub open: u32,
    /// Fires that wait in line.
    pub queued: u32,
}

/// What becomes of a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Start,
    /// It waits until the session before it has ended.
    Queue,
    /// Another session is in its way, or a later fire replaced it.
    Skip,
    /// Nobody saw it in time. Of several in a row only the first is told.
    Miss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fire {
    pub time: DateTime<Utc>,
    pub then: Then,
}

/// What one look at a schedule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub fires: Vec<Fire>,
    /// Sessions that have not ended are cancelled first.
    pub cancels: bool,
    /// What is due next, which may be due already; `None` when the schedule has ended.
    pub next: Option<Due>,
}

impl Rule {
    /// What is due first of a rule that holds from then on.
    pub fn first_due(&self, schedule: &ScheduleId, after: DateTime<Utc>) -> Option<Due> {
        self.next(after).map(|fire| self.due(schedule, fire))
    }
}

/// Decides what is due at `now`.
pub fn turn(rule: &Rule, schedule: &ScheduleId, standing: &Standing, now: DateTime<Utc>) -> Turn {
    let look = Look { rule, schedule, standing, now };
    let (mut fires, last) = look.due();
    let left = rule.max_runs.map_or(u32::MAX, |most| most.saturating_sub(standing.runs));
    let runs = look.assign(&mut fires, left);
    let next = if runs == left { None } else { look.next_after(last) };
    let cancels = rule.overlap == Overlap::Cancel
        && standing.open > 0
        && fires.iter().any(|fire| fire.then == Then::Start);
    Turn { fires, cancels, next }
}

struct Look<'l> {
    rule: &'l Rule,
    schedule: &'l ScheduleId,
    standing: &'l Standing,
    now: DateTime<Utc>,
}

impl Look<'_> {
    /// The due fires in order, and the instant up to which all is settled.
    fn due(&self) -> (Vec<Fire>, Option<DateTime<Utc>>) {
        let first = self.standing.next;
        let first_due = self.rule.due(self.schedule, first);
        if first_due.at > self.now {
            return (Vec::new(), None);
        }
        let oldest = self.now - self.rule.window();
        let is_missed = first_due.at < oldest;
        let mut fires =
            vec![Fire { time: first, then: if is_missed { Then::Miss } else { Then::Start } }];
        let jitter = self.rule.jitter.map_or(0, |jitter| jitter.ms.cast_signed());
        let from =
            if is_missed { first.max(oldest - TimeDelta::milliseconds(jitter)) } else { first };
        if self.rule.catch_up == CatchUp::Latest {
            let Some(last) = self.last_after(from) else { return (fires, Some(from)) };
            fires[0].then = Then::Miss;
            fires.push(Fire { time: last, then: Then::Start });
            return (fires, Some(last));
        }
        let mut settled = from;
        for due in self.after(from) {
            if due.at > self.now || fires.len() >= FIRES_MAX {
                break;
            }
            settled = due.fire;
            if due.at >= oldest {
                fires.push(Fire { time: due.fire, then: Then::Start });
            }
        }
        (fires, Some(settled))
    }

    /// The fires of the rule after this one.
    fn after(&self, fire: DateTime<Utc>) -> impl Iterator<Item = Due> {
        let fires = self.rule.fires(fire.max(self.standing.since));
        fires.map(|fire| self.rule.due(self.schedule, fire))
    }

    /// The last fire after this one that is due; looked for from now backwards, ever further.
    fn last_after(&self, fire: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut back = TimeDelta::hours(1);
        loop {
            let from = fire.max(self.now - back);
            let due = self.after(from).take_while(|due| due.at <= self.now).last();
            if let Some(due) = due {
                return Some(due.fire);
            }
            if from == fire {
                return None;
            }
            back = back * 8;
        }
    }

    fn next_after(&self, settled: Option<DateTime<Utc>>) -> Option<Due> {
        match settled {
            None => Some(self.rule.due(self.schedule, self.standing.next)),
            Some(fire) => self.after(fire).next(),
        }
    }

    /// Says what becomes of each due fire, with at most `left` runs; returns how many runs it gave.
    fn assign(&self, fires: &mut Vec<Fire>, left: u32) -> u32 {
        let (mut open, mut queued, mut runs) = (self.standing.open, self.standing.queued, 0);
        let mut behind = fires.iter().filter(|fire| fire.then == Then::Start).count();
        fires.retain_mut(|fire| {
            if fire.then == Then::Miss {
                return true;
            }
            if runs == left {
                return false;
            }
            behind -= 1;
            let is_busy = open > 0 || queued > 0;
            fire.then = match self.rule.overlap {
                Overlap::Skip if is_busy => Then::Skip,
                Overlap::Queue if is_busy && queued >= QUEUED_MAX => Then::Skip,
                Overlap::Queue if is_busy => Then::Queue,
                // One that the next would cancel at once is not started.
                Overlap::Cancel if behind > 0 => Then::Skip,
                Overlap::Allow | Overlap::Skip | Overlap::Queue | Overlap::Cancel => Then::Start,
            };
            match fire.then {
                Then::Start => (open, runs) = (open + 1, runs + 1),
                Then::Queue => (queued, runs) = (queued + 1, runs + 1),
                Then::Skip | Then::Miss => {}
            }
            true
        });
        runs
    }
}

#[cfg(test)]
mod tests;
