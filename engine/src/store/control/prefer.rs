//! Tasks that prefer some agents: to whom each of them is offered first.

use crate::{
    duration::Span,
    id::{TaskKey, WorkerId},
    plan::{NodeIndex, Plan},
    routing::{self, Candidate},
    store::{Store, offers::Offer, worker_view},
};

/// A task that is about to be ready and prefers some agents.
#[derive(Debug)]
pub(super) struct Preferring {
    pub(super) task: TaskKey,
    pub(super) attempt: i32,
    pub(super) wish: routing::Wish,
    pub(super) within: Span,
}

/// What a task prefers that becomes ready now.
pub(super) fn of(plan: &Plan, row: (TaskKey, NodeIndex, i32)) -> Option<Preferring> {
    let (task, node, attempt) = row;
    let within = plan.node(node).prefers.as_ref()?.within();
    Some(Preferring { task, attempt, wish: plan.wish(node), within })
}

/// Offers to the best agent of each, those that were offered before counted as what it runs. A task of
/// which nobody may be asked is offered to nobody.
pub(super) async fn choose(
    store: &Store,
    tasks: &[(usize, Preferring)],
) -> sqlx::Result<Vec<(usize, Offer)>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, now) = worker_view::live_agents(&store.pool).await?;
    let mut offers = Vec::new();
    let mut given: Vec<i32> = vec![0; rows.len()];
    for (at, task) in tasks {
        let session = task.task.session.id;
        let agents: Vec<Candidate> = rows
            .iter()
            .zip(&given)
            .map(|(row, given)| {
                let candidate = row.candidate(Some(session));
                Candidate { running: candidate.running + given, ..candidate }
            })
            .collect();
        let ranked = routing::rank(&agents, &task.wish, &store.routing, now);
        let Some(best) = ranked.first().filter(|best| best.excluded.is_empty()) else { continue };
        let id = best.candidate.id;
        for (row, given) in rows.iter().zip(&mut given) {
            *given += i32::from(row.is(id));
        }
        offers.push((
            *at,
            Offer {
                task: task.task,
                attempt: task.attempt,
                worker: WorkerId(id),
                agent: best.candidate.name.clone(),
                score: best.score.total,
                within: task.within,
            },
        ));
    }
    Ok(offers)
}
