//! How well a session is, as one number from 0 to 1 that is computed from what is recorded of it.
//!
//! * Before it began: 1. Ended: `completed` is 1, `partially_completed` the share of its tasks that
//!   did not fail, every other end 0.
//! * On its way it is a product. **Tasks**: the share of all its tasks that have neither failed nor
//!   been cancelled; once a failure was not an allowed one, so that it cannot complete any more, at
//!   most 0.4. **Time**, where it has a limit: 1 until 70 % of it are gone, from there in a straight
//!   line to 0.1 at its end. **Agents**: a half while it is degraded. A pause changes nothing.
//!
//! It knows neither rows nor clocks.

use crate::session::SessionState;

/// What the number is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub state: SessionState,
    pub total: i32,
    /// Tasks that failed or were cancelled.
    pub failed: i32,
    /// Whether a failure was not an allowed one.
    pub is_lost: bool,
    /// Milliseconds since its start and to its limit, where it has one and has started.
    pub time: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
pub struct Time {
    pub elapsed_ms: i64,
    pub limit_ms: i64,
}

/// Of what cannot complete any more, at most.
const LOST: f64 = 0.4;
/// The share of the time from which on it counts, and what it comes to at the end.
const LATE: f64 = 0.7;
const OVER: f64 = 0.1;
const DEGRADED: f64 = 0.5;

/// The number, with two digits.
pub fn health(facts: &Facts) -> f64 {
    use SessionState as S;
    let score = match facts.state {
        S::Pending | S::Queued | S::Completed => 1.0,
        S::PartiallyCompleted => unharmed(facts),
        S::Failed | S::Timeout | S::Stopped | S::Cancelled | S::Orphaned => 0.0,
        S::Running | S::Paused => on_its_way(facts),
        S::Degraded => DEGRADED * on_its_way(facts),
    };
    (score * 100.0).round() / 100.0
}

fn on_its_way(facts: &Facts) -> f64 {
    let tasks = unharmed(facts);
    let tasks = if facts.is_lost { tasks.min(LOST) } else { tasks };
    tasks * facts.time.map_or(1.0, in_time)
}

/// The share of the tasks that neither failed nor were cancelled.
fn unharmed(facts: &Facts) -> f64 {
    let (failed, total) = (f64::from(facts.failed), f64::from(facts.total.max(1)));
    (1.0 - failed / total).clamp(0.0, 1.0)
}

#[expect(clippy::cast_precision_loss, reason = "spans are far below 2^52 ms")]
fn in_time(time: Time) -> f64 {
    let share = time.elapsed_ms as f64 / time.limit_ms.max(1) as f64;
    let late = ((share - LATE) / (1.0 - LATE)).clamp(0.0, 1.0);
    1.0 - late * (1.0 - OVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionState as S;

    const FACTS: Facts =
        Facts { state: S::Running, total: 10, failed: 0, is_lost: false, time: None };

    fn of(facts: Facts) -> String {
        format!("{:.2}", health(&facts))
    }

    #[test]
    fn ends_say_whether_it_did_what_it_is_for() {
        for (state, told) in [
            (S::Pending, "1.00"),
            (S::Queued, "1.00"),
            (S::Completed, "1.00"),
            (S::PartiallyCompleted, "0.80"),
            (S::Failed, "0.00"),
            (S::Timeout, "0.00"),
            (S::Stopped, "0.00"),
            (S::Cancelled, "0.00"),
            (S::Orphaned, "0.00"),
        ] {
            assert_eq!(of(Facts { state, failed: 2, ..FACTS }), told, "{state}");
        }
    }

    #[test]
    fn failures_time_and_agents_lower_it_without_jumps() {
        assert_eq!(of(FACTS), "1.00");
        assert_eq!(of(Facts { failed: 3, ..FACTS }), "0.70");
        assert_eq!(of(Facts { failed: 3, is_lost: true, ..FACTS }), "0.40");
        assert_eq!(of(Facts { state: S::Degraded, ..FACTS }), "0.50");
        assert_eq!(of(Facts { state: S::Paused, failed: 1, ..FACTS }), "0.90");
        for (elapsed_ms, told) in
            [(0, "1.00"), (700, "1.00"), (850, "0.55"), (1_000, "0.10"), (9_000, "0.10")]
        {
            let time = Some(Time { elapsed_ms, limit_ms: 1_000 });
            assert_eq!(of(Facts { time, ..FACTS }), told, "{elapsed_ms}");
        }
        assert_eq!(of(Facts { total: 0, ..FACTS }), "1.00");
    }
}
