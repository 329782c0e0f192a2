//! Retries of sessions: reads the ended rows, lets the rule decide which are opened again, and
//! opens them, all under the session's lock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::{
    Hint, Store, Version, blobs, checkpoints,
    events::{self, Entry},
    flags,
    pauses::{self, Point},
    places, schedule_rows,
    sessions::SteerError,
    steer,
};
use crate::{
    event::EventKind,
    id::SessionKey,
    plan::{BlockIndex, Join, NodeIndex, Plan},
    reopen::{Asked, EndedRow, Reopened, Reopening, RowKind, reopen},
    session::{IllegalMove, SessionState},
    task::{Reason, TaskState},
    workflow,
};

/// What a person asks of a retry beyond running again what ended badly.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Rows that run again, are given an end, or are left out.
    pub rows: Asked,
    /// The outputs of the rows that count as completed, in their order.
    pub outputs: Vec<Value>,
    /// Inputs that take the place of the session's, by name.
    pub inputs: Map<String, Value>,
    /// The task that made this checkpoint runs again from there.
    pub checkpoint: Option<i32>,
    pub reason: Option<String>,
    /// What was asked for, in the words of whoever asked; goes into the event.
    pub told: Map<String, Value>,
}

/// Opens a session's failed, cancelled and upstream-failed tasks again, and what else is asked for;
/// done tasks stay done.
/// Returns how many tasks were opened.
pub async fn retry(
    store: &Store,
    key: SessionKey,
    mut wish: Wish,
    actor: Option<&str>,
) -> Result<usize, SteerError> {
    let mut tx = store.pool.begin().await?;
    schedule_rows::lock_of(&mut tx, key).await?;
    let session = sqlx::query!(
        "select state, sweep from session_progress
          where tenant_id = $1 and session_id = $2 for update",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(SteerError::NotFound(key.id))?;
    pauses::at(Point::RetryLocked).await;
    let from = SessionState::from_code(session.state).unwrap_or(SessionState::Pending);
    if !from.is_retryable() {
        return Err(IllegalMove { from, to: SessionState::Pending }.into());
    }
    if session.sweep > 0 {
        return Err(SteerError::Stopping(key.id));
    }
    if let Some(number) = wish.checkpoint {
        wish.rows.from.push(checkpoints::row_of(&mut tx, key, number).await?);
    }
    let infos = store.infos.load(store, &[key]).await?;
    let version = &infos.get(&key).ok_or(SteerError::NotFound(key.id))?.version;
    let ended = ended_rows(&mut tx, key).await?;
    let inputs = inputs(&mut tx, key, &version.plan, &wish).await?;
    check_outputs(&version.plan, &ended, &wish)?;
    let reopening = reopen(&ended.rows, &wish.rows)?;
    let Reopening { opened, skipped, .. } = &reopening;
    let is_asked = !skipped.is_empty() || !wish.rows.completed.is_empty();
    if opened.is_empty() && !is_asked && !ended.closing_failed {
        return Err(SteerError::NothingToRetry(key.id));
    }
    let timeout = |row: &Reopened| {
        let node = ended.groups.get(&row.seq)?;
        let timeout = version.plan.node(*node).timeout?;
        (row.state == TaskState::Blocked).then(|| timeout.ms.cast_signed())
    };
    let timeouts: Vec<i64> = opened.iter().map(|row| timeout(row).unwrap_or(-1)).collect();
    if version.plan.has_epilogue() {
        reset_finally(&mut tx, key, version).await?;
    }
    let gone: Vec<i32> = reopening.dropped.iter().copied().chain(ended.not_undone).collect();
    drop_rows(&mut tx, key, &gone).await?;
    end_by_hand(&mut tx, key, actor, (&wish, skipped)).await?;
    let place = steer::place_of(store, key, inputs.as_ref()).await?;
    let mut told = wish.told;
    let pinned = wish.checkpoint;
    told.extend(wish.reason.map(|reason| ("reason".to_owned(), Value::String(reason))));
    let written = Written { reopening: &reopening, timeouts: &timeouts, inputs, told };
    write(&mut tx, key, actor, version.plan.fail_fast, written).await?;
    checkpoints::close_all(&mut tx, key).await?;
    if let Some(number) = pinned {
        checkpoints::pin(&mut tx, key, number, key).await?;
    }
    schedule_rows::count_again(&mut tx, key).await?;
    places::ask_again(&mut tx, place.as_ref()).await?;
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(key.id));
    Ok(opened.len())
}

/// Everything of a session, except what runs once its result is decided.
pub(super) struct Ended {
    pub(super) rows: Vec<EndedRow>,
    /// The nodes of groups by row.
    pub(super) groups: HashMap<i32, NodeIndex>,
    /// The nodes of all rows.
    nodes: HashMap<i32, NodeIndex>,
    /// Something that ran after the result was decided did not end well.
    closing_failed: bool,
    /// Rows that were to undo tasks and did not.
    not_undone: Vec<i32>,
}

pub(super) async fn ended_rows(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<Ended> {
    let rows = sqlx::query!(
        r#"select t.seq, t.node, t.parent, t.state, t.reason, t.flags, t.dependents,
                  t.item_key, t.finished_at,
                  t.started_at is not null as "begun!",
                  e.seq is not null as "expanded!",
                  coalesce(e.rounds, false) as "rounds!", e.items - e.laid as unlaid
             from tasks t
             left join expansions e on e.tenant_id = t.tenant_id and e.session_id = t.session_id
                                   and e.seq = t.seq
            where t.tenant_id = $1 and t.session_id = $2
            order by t.seq"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_all(tx)
    .await?;
    let bad = [TaskState::Failed.code(), TaskState::Cancelled.code()];
    let closing = flags::FINALLY | flags::COMPENSATION;
    let (closing, rows): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.flags & closing != 0);
    let closing_failed = closing.iter().any(|row| bad.contains(&row.state));
    let undoing = closing.iter().filter(|row| row.flags & flags::COMPENSATION != 0);
    let (done, not_done): (Vec<_>, Vec<_>) =
        undoing.partition(|row| row.state == TaskState::Completed.code());
    let not_undone = not_done.into_iter().map(|row| row.seq).collect();
    let undone: HashMap<i32, Option<DateTime<Utc>>> = done
        .into_iter()
        .filter_map(|row| Some((row.item_key.as_ref()?.parse().ok()?, row.finished_at)))
        .collect();
    let nodes = rows.iter().map(|row| (row.seq, NodeIndex::from_code(row.node))).collect();
    let groups = rows
        .iter()
        .filter(|row| row.flags & flags::GROUP != 0)
        .map(|row| (row.seq, NodeIndex::from_code(row.node)))
        .collect();
    let rows = rows
        .into_iter()
        .filter_map(|row| {
            let has = |flag: i16| row.flags & flag != 0;
            Some(EndedRow {
                seq: row.seq,
                parent: row.parent,
                state: TaskState::from_code(row.state)?,
                reason: row.reason.and_then(Reason::from_code),
                kind: kind(row.flags, row.expanded, row.rounds),
                join: join(row.flags),
                plain: has(flags::PLAIN),
                continue_on_failure: has(flags::CONTINUE),
                dependents: row.dependents.unwrap_or_default(),
                begun: row.begun,
                undone: undone.get(&row.seq).is_some_and(|at| *at > row.finished_at),
                unlaid: row.unlaid.unwrap_or_default(),
                locks: has(flags::LOCK),
            })
        })
        .collect();
    Ok(Ended { rows, groups, nodes, closing_failed, not_undone })
}

/// The session's inputs with those that are asked for in their place; `None` leaves them alone.
async fn inputs(
    tx: &mut PgConnection,
    key: SessionKey,
    plan: &Plan,
    wish: &Wish,
) -> Result<Option<Map<String, Value>>, SteerError> {
    if wish.inputs.is_empty() {
        return Ok(None);
    }
    let now = sqlx::query_scalar!(
        r#"select coalesce(p.inputs, s.inputs) as "inputs!"
             from sessions s
             join session_progress p on p.tenant_id = s.tenant_id and p.session_id = s.id
            where s.tenant_id = $1 and s.id = $2"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_one(tx)
    .await?;
    let mut inputs = now.as_object().cloned().unwrap_or_default();
    inputs.extend(wish.inputs.clone());
    workflow::check_inputs(plan, inputs).map(Some).map_err(SteerError::Inputs)
}

/// Outputs that are given have to be what the task could have put out.
fn check_outputs(plan: &Plan, ended: &Ended, wish: &Wish) -> Result<(), SteerError> {
    for (seq, outputs) in wish.rows.completed.iter().zip(&wish.outputs) {
        let node = ended.nodes.get(seq).map(|node| plan.node(*node));
        let schema = node.and_then(|node| node.outputs.as_ref());
        crate::outcome::check_outputs(outputs, schema).map_err(SteerError::Outputs)?;
    }
    Ok(())
}

/// Gives rows the ends that were asked for; their events, and their part in the counters.
async fn end_by_hand(
    tx: &mut PgConnection,
    key: SessionKey,
    actor: Option<&str>,
    (wish, skipped): (&Wish, &[i32]),
) -> sqlx::Result<()> {
    for (seq, outputs) in wish.rows.completed.iter().zip(&wish.outputs) {
        end_rows(tx, key, &[*seq], TaskState::Completed, Some(outputs)).await?;
    }
    if !skipped.is_empty() {
        end_rows(tx, key, skipped, TaskState::Skipped, None).await?;
    }
    let by_hand = |kind, seq: &i32| Entry::of_task(kind, *seq, json!({ "by_hand": true }));
    let completed = wish.rows.completed.iter().map(|seq| by_hand(EventKind::TaskCompleted, seq));
    let skipped = wish.rows.skipped.iter().map(|seq| by_hand(EventKind::TaskSkipped, seq));
    let entries: Vec<Entry> = completed.chain(skipped).collect();
    events::append(tx, key, &entries, actor).await
}

async fn end_rows(
    tx: &mut PgConnection,
    key: SessionKey,
    seqs: &[i32],
    to: TaskState,
    outputs: Option<&Value>,
) -> sqlx::Result<()> {
    let (inline, blob) = match outputs.map(blobs::place) {
        None => (None, None),
        Some(blobs::Place::Inline(text)) => (Some(text), None),
        Some(blobs::Place::Outside(blob)) => {
            blobs::keep(&mut *tx, key.tenant, &blob).await?;
            (None, Some(blob.hash))
        }
    };
    let reason = (to == TaskState::Skipped).then_some(Reason::SkippedByHand.code());
    sqlx::query_file!(
        "src/store/sql/end_by_hand.sql",
        key.tenant.0,
        key.id.0,
        seqs,
        to.code(),
        reason,
        inline as _,
        blob as _
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn kind(flags: i16, is_expanded: bool, has_rounds: bool) -> RowKind {
    let has = |flag: i16| flags & flag != 0;
    if has(flags::ITEM) {
        RowKind::Item
    } else if !has(flags::GROUP) {
        RowKind::Task
    } else if has_rounds {
        RowKind::Loop
    } else if is_expanded {
        RowKind::ForEachGroup
    } else {
        RowKind::PlainGroup
    }
}

const fn join(flags: i16) -> Join {
    if flags & flags::JOIN_ANY != 0 {
        Join::Any
    } else if flags & flags::JOIN_ALL_DONE != 0 {
        Join::AllDone
    } else {
        Join::All
    }
}

/// Rows that are laid down anew are gone.
async fn drop_rows(tx: &mut PgConnection, key: SessionKey, dropped: &[i32]) -> sqlx::Result<()> {
    if dropped.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with gone as (
             delete from tasks
              where tenant_id = $1 and session_id = $2 and seq = any($3)
             returning state, flags
         ), forgotten as (
             delete from expansions
              where tenant_id = $1 and session_id = $2 and seq = any($3)
         ), c as (
             select count(*) as total,
                    count(*) filter (where state = 6) as completed,
                    count(*) filter (where state = 7) as failed,
                    count(*) filter (where state = 8) as cancelled,
                    count(*) filter (where state = 9) as skipped
               from gone where flags & 1 <> 0
         )
         update session_progress p
            set total = p.total - c.total, completed = p.completed - c.completed,
                failed = p.failed - c.failed, cancelled = p.cancelled - c.cancelled,
                skipped = p.skipped - c.skipped
           from c
          where p.tenant_id = $1 and p.session_id = $2",
        key.tenant.0,
        key.id.0,
        dropped
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// What stands under `finally` waits for the next result; what was laid down for items there is gone.
async fn reset_finally(
    tx: &mut PgConnection,
    key: SessionKey,
    version: &Version,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with gone as (
             delete from tasks t
              where t.tenant_id = $1 and t.session_id = $2 and t.seq > $4 and t.flags & $5::smallint <> 0
             returning t.state, t.flags
         ), forgotten as (
             delete from expansions e
              using tasks t
              where e.tenant_id = $1 and e.session_id = $2
                and t.tenant_id = $1 and t.session_id = $2 and t.seq = e.seq and t.flags & $5 <> 0
         ), before as materialized (
             select t.state, t.flags
               from tasks t
              where t.tenant_id = $1 and t.session_id = $2 and t.seq <= $4 and t.flags & $5 <> 0
         ), waiting as (
             update tasks t
                set state = 0, reason = null, queued = false, undecided = false, delayed = false,
                    wake_at = null, blockers = r.blockers, bad = 0, failures = 0, crashes = 0,
                    output = null, output_blob = null, error = null, ready_at = null, rank = null,
                    started_at = null, finished_at = null
               from plan_tasks r
              where t.tenant_id = $1 and t.session_id = $2 and t.seq <= $4 and t.flags & $5 <> 0
                and r.tenant_id = $1 and r.version_id = $3 and r.block = 0 and r.position = t.seq - 1
         ), counted as (
             select count(*) filter (where state = 6) as completed,
                    count(*) filter (where state = 7) as failed,
                    count(*) filter (where state = 8) as cancelled,
                    count(*) filter (where state = 9) as skipped,
                    (select count(*) from gone where flags & 1 <> 0) as gone
               from (select * from gone union all select * from before) b
              where flags & 1 <> 0
         )
         update session_progress p
            set total = p.total - c.gone, completed = p.completed - c.completed,
                failed = p.failed - c.failed, cancelled = p.cancelled - c.cancelled,
                skipped = p.skipped - c.skipped
           from counted c
          where p.tenant_id = $1 and p.session_id = $2",
        key.tenant.0,
        key.id.0,
        version.id.0,
        version.plan.block(BlockIndex::ROOT).rows(),
        flags::FINALLY,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// What is written of a retry.
struct Written<'a> {
    reopening: &'a Reopening,
    timeouts: &'a [i64],
    /// Other inputs from now on.
    inputs: Option<Map<String, Value>>,
    told: Map<String, Value>,
}

async fn write(
    tx: &mut PgConnection,
    key: SessionKey,
    actor: Option<&str>,
    fail_fast: bool,
    written: Written<'_>,
) -> sqlx::Result<()> {
    let Written { reopening, timeouts, inputs, told } = written;
    let Reopening { opened, held, gated, .. } = reopening;
    let seqs: Vec<i32> = opened.iter().map(|row| row.seq).collect();
    let states: Vec<i16> = opened.iter().map(|row| row.state.code()).collect();
    let blockers: Vec<i32> = opened.iter().map(|row| row.blockers).collect();
    let undecided: Vec<bool> = opened.iter().map(|row| row.undecided).collect();
    let began = |row: &Reopened| row.state == TaskState::Blocked || held.contains(&row.seq);
    let begun: Vec<bool> = opened.iter().map(began).collect();
    let gated: Vec<bool> = opened.iter().map(|row| gated.contains(&row.seq)).collect();
    sqlx::query_file!(
        "src/store/sql/reopen.sql",
        key.tenant.0,
        key.id.0,
        actor as _,
        &seqs,
        &states,
        &blockers,
        &undecided,
        timeouts,
        fail_fast,
        blobs::without_nul(Value::Object(told)),
        inputs.map(|inputs| blobs::without_nul(Value::Object(inputs))),
        &begun,
        &gated,
        flags::GATED
    )
    .execute(tx)
    .await
    .map(|_| ())
}
