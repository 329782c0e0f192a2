//! Attempts under budgets: an attempt begins with what was put aside for it, is held to that, and says
//! what it took before it ends. It does not know what the budgets are.

use std::time::Duration;

use jobshop_engine::{
    attempt::{Attempt, Work},
    budget::Amounts,
    checkpoint::Spend,
    duration::Span,
    id::Fence,
    outcome::{ErrorClass, Outcome},
    plan::NodeIndex,
    store::{SessionInfo, budgets},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{execute::Link, life::Life};

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);
const TRIES_MAX: u32 = 50;

/// Whether an attempt may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// No budget is about it.
    None,
    Held,
    /// Somebody else has it by now, or the life was lost.
    Lost,
}

/// Takes what was put aside for the attempt, which it is held to.
pub(crate) async fn begin(
    life: &Life,
    (info, node): (&SessionInfo, NodeIndex),
    attempt: &mut Attempt,
    link: &mut Link,
) -> Share {
    let is_budgeted = info.version.plan.is_budgeted(node);
    if !is_budgeted && !info.funded {
        return Share::None;
    }
    let model = match &attempt.work {
        Work::Agent(work) => work.model.clone(),
        Work::Noop | Work::Fail(..) | Work::Run(_) | Work::Merge(_) | Work::Http(_) => None,
    };
    let (db, fence) = (&life.store.pool, attempt.fence);
    let begun = life.insist(|| budgets::begin(db, fence, model.as_deref())).await;
    match begun {
        Some(Some(share)) => {
            hold_to(share, attempt, link);
            Share::Held
        }
        // In a session under the budgets of others only some tasks put something aside.
        Some(None) if !is_budgeted => Share::None,
        Some(None) | None => Share::Lost,
    }
}

fn hold_to([tokens, usd, wall_ms]: Amounts, attempt: &mut Attempt, link: &mut Link) {
    if let Ok(ms) = u64::try_from(wall_ms)
        && ms > 0
    {
        let share = Span { ms };
        attempt.timeout = Some(attempt.timeout.map_or(share, |own| own.min(share)));
    }
    let limited = |amount: i64| Some(amount).filter(|amount| *amount > 0);
    link.allowance = (limited(tokens), limited(usd));
}

/// Says what an attempt took, before anybody may see that it ended.
pub(crate) async fn settle(
    life: &Life,
    attempt: &Attempt,
    outcome: &Outcome,
    spent: Option<Spend>,
) {
    if let Some(spend) = spent.or_else(|| told(attempt, outcome)) {
        note(life, attempt.fence, &spend).await;
    }
}

/// Says what an attempt has taken so far.
pub(crate) async fn note(life: &Life, fence: Fence, spend: &Spend) {
    for _ in 0..TRIES_MAX {
        match budgets::note(&life.store.pool, fence, spend).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "cannot say what was spent; trying again"),
        }
        tokio::select! {
            () = sleep(PAUSE_AFTER_ERROR) => {}
            () = life.lost.cancelled() => return,
        }
    }
}

/// What the outputs say. `None` where nobody knows.
fn told(attempt: &Attempt, outcome: &Outcome) -> Option<Spend> {
    if let Work::Agent(work) = &attempt.work
        && work.runtime.converses()
    {
        // It never came to the agent: otherwise the link knows.
        return Some(Spend::default());
    }
    let outputs = match outcome {
        Outcome::Succeeded(outputs) => outputs,
        Outcome::Failed { failure, outputs } => {
            // It never came to the agent.
            if matches!(failure.class, ErrorClass::NoAgent | ErrorClass::Template) {
                return Some(Spend::default());
            }
            outputs
        }
        // What it took the next one takes again, and tells.
        Outcome::Parked => return Some(Spend::default()),
        Outcome::Released | Outcome::Deferred(_) => return None,
    };
    let usage = outputs.get("usage").filter(|usage| usage.is_object());
    let Some(usage) = usage else {
        // Only agents take what they do not talk of.
        return (!matches!(attempt.work, Work::Agent(_))).then(Spend::default);
    };
    Some(of_usage(usage))
}

/// Usage as agents write it: in the words of a [`Spend`], or as a sum of tokens.
fn of_usage(usage: &Value) -> Spend {
    let mut spend: Spend = serde_json::from_value(usage.clone()).unwrap_or_default();
    let total = ["tokens", "total_tokens"].iter().find_map(|key| usage.get(key)?.as_u64());
    if let Some(total) = total.filter(|_| spend.tokens() == 0) {
        spend.input_tokens = total;
    }
    spend
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_read_in_the_words_of_agents() {
        let spend = of_usage(&json!({ "input_tokens": 5, "output_tokens": 2, "cost_usd": 0.5 }));
        assert_eq!((spend.tokens(), spend.cost_usd), (7, 0.5));
        assert_eq!(of_usage(&json!({ "total_tokens": 9 })).tokens(), 9);
        assert_eq!(of_usage(&json!({ "tokens": "many" })).tokens(), 0);
    }
}
