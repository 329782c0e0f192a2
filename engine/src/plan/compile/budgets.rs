//! Budgets, from the keys they are written with.

use super::outline::Outline;
use crate::{
    budget::{self, Caps, Dimension, micros},
    plan::NodeIndex,
    workflow::{
        definition::{Budget, Workflow},
        problem::Problems,
    },
};

pub(super) fn of(written: &Budget) -> budget::Budget {
    let reserve = written.reserve.as_ref().map(|reserve| reserve.amounts.caps());
    budget::Budget {
        limits: written.limits.caps(),
        reserve: reserve.unwrap_or_default(),
        on_exceed: written.on_exceed,
    }
}

/// A budget has to have something to limit, and what stands in it has to fit.
pub(super) fn check(
    workflow: &Workflow,
    outline: &Outline<'_>,
    index: NodeIndex,
    problems: &mut Problems,
) {
    let draft = outline.draft(index);
    let task = draft.task;
    if let Some(own) = &task.budget {
        if draft.is_finally {
            problems.hint(
                own.at,
                "what stands under `finally` has no budget",
                "remove it: no budget keeps a session from cleaning up",
            );
        }
        if let Some(kind) = ["sleep", "approval", "wait_for"]
            .into_iter()
            .find(|kind| task.kinds.iter().any(|it| it.value == *kind))
        {
            problems.hint(
                own.at,
                format!("`budget` means nothing beside `{kind}`"),
                "what waits takes nothing: remove it",
            );
        }
    }
    let around = outline.around(index);
    let groups = around.iter().filter_map(|group| {
        let budget = outline.draft(*group).task.budget.as_ref()?;
        Some((format!("the group `{}`", outline.path(*group)), budget.value.limits.caps()))
    });
    let all = workflow.budget.as_ref();
    let all = all.map(|budget| ("the workflow".to_owned(), budget.value.limits.caps()));
    let outer: Vec<(String, Caps)> = groups.chain(all).collect();
    let own = task.budget.iter().flat_map(|budget| budget.value.limits.each());
    for (of, (key, amount)) in own.enumerate() {
        refuse_more(&format!("`{key}`"), (of, amount), &outer, problems);
    }
    let own = task.budget.as_ref().map(|own| ("the task".to_owned(), own.value.limits.caps()));
    let outer: Vec<(String, Caps)> = own.into_iter().chain(outer).collect();
    let Some(agent) = &task.agent else { return };
    let limits = &agent.value.limits;
    let tokens = limits.tokens.and_then(|tokens| i64::try_from(tokens).ok());
    for (of, key, amount) in [(0, "tokens", tokens), (1, "usd", limits.usd.map(micros))] {
        let name = format!("`{key}` of the agent's `limits`");
        refuse_more(&name, (of, amount.map(|amount| (agent.at, amount))), &outer, problems);
    }
}

fn refuse_more(
    what: &str,
    (of, amount): (usize, Option<(usize, i64)>),
    outer: &[(String, Caps)],
    problems: &mut Problems,
) {
    let Some((at, amount)) = amount else { return };
    let smaller = outer.iter().find_map(|(name, limits)| {
        limits[of].filter(|limit| *limit < amount).map(|limit| (name, limit))
    });
    if let Some((name, limit)) = smaller {
        let dimension = Dimension::ALL[of];
        problems.hint(
            at,
            format!("{what} is {}, more than {name} has", dimension.show(amount)),
            format!("that has {}: lower the one or raise the other", dimension.show(limit)),
        );
    }
}
