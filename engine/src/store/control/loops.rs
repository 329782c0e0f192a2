//! Loops: when a round has ended, `until` decides whether another begins.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::json;
use uuid::Uuid;

use super::decide::{Candidate, GroupEnd};
use crate::{
    flow::{self, AfterRound},
    id::{SessionKey, TaskKey},
    plan::Loop,
    store::{
        SessionInfo, Store, flags,
        values::{self, Request},
    },
};

/// What becomes of loops of which a round has ended.
#[derive(Default)]
pub(super) struct RoundsEnded {
    /// Loops that end, with what they come to.
    pub(super) ended: HashMap<TaskKey, GroupEnd>,
    /// Loops that go on.
    pub(super) another: HashSet<TaskKey>,
    /// Rounds that this call let begin.
    pub(super) begun: usize,
}

/// A loop of which a round has ended well.
struct Round<'a> {
    candidate: &'a Candidate,
    info: &'a Arc<SessionInfo>,
    rounds: &'a Loop,
    /// Its number.
    number: i32,
    /// Its row.
    row: i32,
    /// Somebody else may have let it begin just now.
    has_ended: bool,
}

/// Looks at `until` of every loop among the groups in which everything has ended. A loop in which
/// something failed unallowed ends as any group does.
pub(super) async fn rounds_ended(
    store: &Store,
    candidates: &[&Candidate],
    infos: &HashMap<SessionKey, Arc<SessionInfo>>,
) -> sqlx::Result<RoundsEnded> {
    let mut found = RoundsEnded::default();
    let rounds = rounds(store, candidates, infos).await?;
    let (rounds, begun): (Vec<_>, Vec<_>) = rounds.into_iter().partition(|round| round.has_ended);
    found.another.extend(begun.iter().map(|round| round.candidate.task));
    if rounds.is_empty() {
        return Ok(found);
    }
    let requests: Vec<Request> = rounds
        .iter()
        .map(|r| Request::of_round(Arc::clone(r.info), r.candidate.node, r.row))
        .collect();
    let loaded = values::load(store, &requests).await?;
    for (round, values) in rounds.iter().zip(loaded) {
        let plan = &round.info.version.plan;
        let after = match values {
            Ok(values) => {
                let scope = values.scope_of_round(plan, round.candidate.node);
                flow::after_round(round.rounds, round.number.cast_unsigned(), &scope)
            }
            Err(failure) => AfterRound::End(crate::task::TaskState::Failed, Some(failure)),
        };
        match after {
            AfterRound::Another => {
                found.another.insert(round.candidate.task);
                found.begun += begin(store, round).await?;
            }
            AfterRound::End(state, failure) => {
                found.ended.insert(round.candidate.task, (state, failure));
            }
        }
    }
    Ok(found)
}

/// The loops among the candidates, with the round that each is at.
async fn rounds<'a>(
    store: &Store,
    candidates: &[&'a Candidate],
    infos: &'a HashMap<SessionKey, Arc<SessionInfo>>,
) -> sqlx::Result<Vec<Round<'a>>> {
    let loops: Vec<(&Candidate, &Arc<SessionInfo>, &Loop)> = candidates
        .iter()
        .filter(|c| c.flags & flags::ITEM == 0 && c.bad == 0 && c.error.is_none())
        .filter_map(|c| {
            let info = infos.get(&c.task.session)?;
            let rounds = info.version.plan.group(c.node)?.rounds.as_ref()?;
            Some((*c, info, rounds))
        })
        .collect();
    if loops.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<Uuid> = loops.iter().map(|(c, ..)| c.task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = loops.iter().map(|(c, ..)| c.task.session.id.0).collect();
    let seqs: Vec<i32> = loops.iter().map(|(c, ..)| c.task.seq).collect();
    let rows = sqlx::query!(
        r#"select k.slot as "slot!", e.items, e.base + (e.items - 1) * e.block_rows as "row!",
                  exists (select from tasks r
                           where r.tenant_id = e.tenant_id and r.session_id = e.session_id
                             and r.seq = e.base + (e.items - 1) * e.block_rows
                             and r.state >= 6) as "has_ended!"
             from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
                  as k (tenant_id, session_id, seq, slot)
             join expansions e on e.tenant_id = k.tenant_id and e.session_id = k.session_id
                              and e.seq = k.seq"#,
        &tenants,
        &sessions,
        &seqs
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let at = usize::try_from(row.slot - 1).ok()?;
            let (candidate, info, rounds) = *loops.get(at)?;
            let (number, has_ended) = (row.items, row.has_ended);
            Some(Round { candidate, info, rounds, number, row: row.row, has_ended })
        })
        .collect())
}

/// Lets the next round begin, unless somebody else did or the group has run out of time; it is laid
/// down as the items of a fan-out are.
async fn begin(store: &Store, round: &Round<'_>) -> sqlx::Result<usize> {
    let TaskKey { session, seq } = round.candidate.task;
    let next = round.number + 1;
    let begun = sqlx::query!(
        "with locked as materialized (
             select from session_progress p
              where p.tenant_id = $1 and p.session_id = $2 and p.retry = $4
                and p.state in (1, 2, 4) and p.sweep = 0
                for no key update
         ), waiting as (
             update tasks t set blockers = 1, undecided = false
               from locked
              where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
                and t.state = 4 and t.reason = 0 and t.undecided and t.blockers = 0
                and (not t.delayed or t.wake_at > clock())
             returning t.seq
         )
         update expansions e
            set items = e.items + 1, list = e.list || jsonb_build_array($6::jsonb),
                unfinished = true
           from waiting
          where e.tenant_id = $1 and e.session_id = $2 and e.seq = waiting.seq
            and e.items = $5 and e.laid = e.items",
        session.tenant.0,
        session.id.0,
        seq,
        round.candidate.retry,
        round.number,
        json!([next.to_string(), next]),
    )
    .execute(&store.pool)
    .await?;
    Ok(usize::try_from(begun.rows_affected()).unwrap_or_default())
}
