//! Decides rows that wait for the control loop: conditions, groups and items that begin or end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::json;
use uuid::Uuid;

use super::{
    ask::{self, Wish},
    expand::{self, FanOut},
    go_on, loops, never_begun,
    prefer::{self, Preferring},
};
use crate::{
    expression::values::Values,
    flow::{self, Decision, Needs},
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::Failure,
    plan::{self, Group, Join, Kind, NodeIndex, Plan},
    store::{
        SessionInfo, Store, flags,
        tickets::{self, Wanted},
        transition::{Move, Mover, transition},
        values::{self, Request},
    },
    task::{Reason, TaskState},
};

/// What was decided.
#[derive(Default)]
struct Batch {
    moves: Vec<Move>,
    /// What rows wait for that begin to wait for people, by the position of their move.
    wishes: Vec<(usize, Wish)>,
    /// Moves of what stands in groups that never begin, by position, with their group.
    inside: Vec<(usize, TaskKey)>,
    /// Tasks that become ready and prefer some agents, by the position of their move.
    preferring: Vec<(usize, Preferring)>,
}

/// Rows that are decided at once.
const BATCH: i64 = 500;

/// A row that waits for a decision.
pub(super) struct Candidate {
    pub(super) task: TaskKey,
    pub(super) node: NodeIndex,
    pub(super) flags: i16,
    state: TaskState,
    blockers: i32,
    pub(super) bad: i32,
    pub(super) attempt: i32,
    pub(super) retry: i32,
    pub(super) error: Option<Failure>,
    /// Of a group: it began before the session was retried.
    begun: bool,
    /// It waited for locks, and has them now.
    has_locks: bool,
    /// How much is left of its time.
    left_ms: Option<i64>,
}

impl Candidate {
    fn is(&self, flag: i16) -> bool {
        self.flags & flag != 0
    }

    /// A group or item that began before the session was retried.
    fn goes_on(&self) -> bool {
        self.begun && self.is(flags::GROUP | flags::ITEM)
    }

    /// Where its block begins: an item is the first row of its own.
    fn base(&self, plan: &Plan) -> i32 {
        let position = plan.node(self.node).position;
        self.task.seq - if self.is(flags::ITEM) { 0 } else { position }
    }

    /// The move to another state.
    pub(super) fn to(&self, state: TaskState) -> Move {
        let mut to = Move::new(self.task, self.attempt, self.state, state);
        to.locks = self.is(flags::LOCK);
        to.funded = self.is(flags::BUDGET);
        // Two that decide it at once: what it becomes may be blocked too.
        to.from_reason = self.has_locks.then_some(Reason::Lock);
        to
    }

    fn row(&self) -> (TaskKey, NodeIndex, i32) {
        (self.task, self.node, self.attempt)
    }
}

/// What a group comes to.
pub(super) type GroupEnd = (TaskState, Option<Failure>);

/// Decides the next batch and returns how many rows it held.
pub(super) async fn decide(store: &Store) -> sqlx::Result<usize> {
    let candidates = candidates(store).await?;
    if candidates.is_empty() {
        return Ok(0);
    }
    let keys: Vec<SessionKey> = candidates.iter().map(|c| c.task.session).collect();
    let infos = store.infos.load(store, &keys).await?;
    let mut batch = Batch::default();
    let (begin, end): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|c| c.state == TaskState::Pending || c.has_locks);
    let rounds = loops::rounds_ended(store, &end, &infos).await?;
    let end: Vec<&Candidate> =
        end.into_iter().filter(|c| !rounds.another.contains(&c.task)).collect();
    batch.moves.extend(ends(store, &end, &rounds.ended).await?);
    let (go_on, begin): (Vec<&Candidate>, Vec<&Candidate>) =
        begin.into_iter().partition(|c| c.goes_on() && (c.has_locks || !c.is(flags::LOCK)));
    for group in go_on {
        batch.moves.push(go_on::go_on(store, group, infos.get(&group.task.session)).await?);
    }
    begins(store, &begin, &infos, &mut batch).await?;
    let mut retries: Vec<(SessionKey, i32)> =
        candidates.iter().map(|c| (c.task.session, c.retry)).collect();
    retries.sort_unstable();
    retries.dedup();
    let Batch { mut moves, mut wishes, inside, preferring } = batch;
    let offers = prefer::choose(store, &preferring).await?;
    wishes.extend(offers.into_iter().map(|(at, offer)| (at, Wish::Offer(offer))));
    let moved = if wishes.is_empty() && inside.is_empty() {
        transition(&store.pool, Mover::Control, &moves, &retries, None).await?
    } else {
        let mut tx = store.pool.begin().await?;
        never_begun::let_go(&mut tx, &mut moves, &inside).await?;
        ask::begin(store, tx, &moves, &retries, &wishes, &infos).await?
    };
    super::tell(store, &moves, &moved);
    Ok(rounds.begun + moved.accepted.iter().filter(|accepted| **accepted).count())
}

async fn candidates(store: &Store) -> sqlx::Result<Vec<Candidate>> {
    let rows =
        sqlx::query_file!("src/store/sql/undecided.sql", BATCH).fetch_all(&store.pool).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let session =
                SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
            Some(Candidate {
                task: TaskKey { session, seq: row.seq },
                node: NodeIndex::from_code(row.node),
                flags: row.flags,
                state: TaskState::from_code(row.state)?,
                has_locks: row.state == TaskState::Blocked.code()
                    && row.reason == Some(Reason::Lock.code()),
                left_ms: row.left_ms,
                blockers: row.blockers,
                bad: row.bad,
                attempt: row.attempt,
                retry: row.retry,
                error: row.error.and_then(|error| serde_json::from_value(error).ok()),
                begun: row.begun,
            })
        })
        .collect())
}

/// The moves of groups and items in which everything has ended.
async fn ends(
    store: &Store,
    candidates: &[&Candidate],
    loops: &HashMap<TaskKey, GroupEnd>,
) -> sqlx::Result<Vec<Move>> {
    let items: Vec<TaskKey> =
        candidates.iter().filter(|c| c.flags & flags::ITEM != 0).map(|c| c.task).collect();
    let skipped = all_children_skipped(store, &items).await?;
    Ok(candidates
        .iter()
        .map(|c| {
            let (state, failure) = if let Some(end) = loops.get(&c.task) {
                end.clone()
            } else if c.flags & flags::ITEM == 0 {
                flow::end_of_group(c.bad, c.error.clone())
            } else {
                flow::end_of_item(c.bad, skipped.contains(&c.task))
            };
            let mut end = c.to(state);
            end.error = failure;
            end
        })
        .collect())
}

/// Those of the items of which every direct child was skipped.
async fn all_children_skipped(store: &Store, items: &[TaskKey]) -> sqlx::Result<Vec<TaskKey>> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<Uuid> = items.iter().map(|task| task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = items.iter().map(|task| task.session.id.0).collect();
    let seqs: Vec<i32> = items.iter().map(|task| task.seq).collect();
    let slots =
        sqlx::query_file_scalar!("src/store/sql/all_skipped.sql", &tenants, &sessions, &seqs)
            .fetch_all(&store.pool)
            .await?;
    Ok(slots
        .into_iter()
        .filter_map(|slot| usize::try_from(slot - 1).ok().and_then(|n| items.get(n)).copied())
        .collect())
}

/// The moves of rows whose needs let them go.
async fn begins(
    store: &Store,
    candidates: &[&Candidate],
    infos: &HashMap<SessionKey, Arc<SessionInfo>>,
    batch: &mut Batch,
) -> sqlx::Result<()> {
    let known: Vec<(&Candidate, &Arc<SessionInfo>)> = candidates
        .iter()
        .filter_map(|c| infos.get(&c.task.session).map(|info| (*c, info)))
        .collect();
    let requests: Vec<Request> =
        known.iter().map(|(candidate, info)| request(candidate, info)).collect();
    let loaded = values::load(store, &requests).await?;
    let good = with_a_good_need(store, &known).await?;
    for ((candidate, info), values) in known.into_iter().zip(loaded) {
        let plan = &info.version.plan;
        let decision = match values {
            Ok(loaded) if candidate.is(flags::LOCK) && !candidate.has_locks => {
                match first_locks(plan, candidate, &good, &loaded) {
                    Ok(names) => {
                        wait_for_locks(candidate, plan, names, batch);
                        continue;
                    }
                    Err(decision) => decision,
                }
            }
            Ok(_) if candidate.is(flags::ITEM) => flow::begin_item(plan, candidate.node),
            Ok(loaded) => {
                let needs = Needs { bad: candidate.bad, any_good: good.contains(&candidate.task) };
                flow::decide(plan, candidate.node, needs, &loaded)
            }
            Err(failure) => Decision::Fail(failure),
        };
        apply(store, candidate, info, decision, batch).await?;
    }
    Ok(())
}

fn request(candidate: &Candidate, info: &Arc<SessionInfo>) -> Request {
    let info = Arc::clone(info);
    if candidate.is(flags::ITEM) {
        Request::of_item(info, candidate.node, candidate.task.seq)
    } else {
        Request::new(info, candidate.node, candidate.task.seq)
    }
}

/// The locks that a row takes before anything else, or what becomes of it without them.
fn first_locks(
    plan: &Plan,
    candidate: &Candidate,
    good: &HashSet<TaskKey>,
    values: &Values,
) -> Result<Locks, Decision> {
    let mut starts = false;
    if !candidate.is(flags::ITEM) && !candidate.goes_on() {
        let needs = Needs { bad: candidate.bad, any_good: good.contains(&candidate.task) };
        let decision = flow::decide(plan, candidate.node, needs, values);
        if matches!(decision, Decision::Skip(_) | Decision::Fail(_) | Decision::Complete) {
            return Err(decision);
        }
        let prefers = plan.node(candidate.node).prefers.is_some();
        starts = decision == Decision::Ready && !candidate.is(flags::BUDGET) && !prefers;
    }
    let scope = values.scope(plan, Some(candidate.node));
    let names = plan::locks(&plan.node(candidate.node).locks, &scope).map_err(Decision::Fail)?;
    Ok(Locks { names, starts })
}

/// What a row takes, and whether it is ready with it.
struct Locks {
    names: Vec<(String, i32)>,
    starts: bool,
}

fn wait_for_locks(candidate: &Candidate, plan: &Plan, locks: Locks, batch: &mut Batch) {
    let Locks { names, starts } = locks;
    let mut wait = candidate.to(TaskState::Blocked);
    wait.reason = Some(Reason::Lock);
    // Of those whose time runs from the end of their needs.
    wait.delay_ms = match &plan.node(candidate.node).kind {
        Kind::Approval(_) | Kind::WaitFor(_) | Kind::Group(_) => timeout(candidate, plan),
        Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_) | Kind::Sleep(_) | Kind::Session(_) => {
            None
        }
    };
    let locks: Vec<&String> = names.iter().map(|(name, _)| name).collect();
    wait.body = Some(json!({ "reason": Reason::Lock, "locks": locks }));
    let wanted =
        Wanted { task: candidate.task, kind: tickets::Kind::Lock, names, starts, ousts: false };
    batch.wishes.push((batch.moves.len(), Wish::Locks(wanted)));
    batch.moves.push(wait);
}

/// The time that a row has from here on. An item has that of its group.
fn timeout(candidate: &Candidate, plan: &Plan) -> Option<i64> {
    if candidate.is(flags::ITEM) {
        return None;
    }
    let whole = plan.node(candidate.node).timeout?.ms.cast_signed();
    Some(candidate.left_ms.filter(|_| candidate.has_locks).map_or(whole, |left| left.max(0)))
}

/// Those candidates of which one need at least completed, or failed and was allowed to, as far as
/// their join asks for it.
async fn with_a_good_need(
    store: &Store,
    known: &[(&Candidate, &Arc<SessionInfo>)],
) -> sqlx::Result<HashSet<TaskKey>> {
    let mut good = HashSet::new();
    let mut asked = Vec::new();
    let (mut tenants, mut sessions, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
    for (candidate, info) in known {
        let plan = &info.version.plan;
        let node = plan.node(candidate.node);
        // Let go before all its needs have ended: one of them was good.
        let is_asked = node.join == Join::Any && !candidate.is(flags::ITEM);
        if !is_asked || candidate.blockers > 0 || node.needs.is_empty() {
            good.insert(candidate.task);
            continue;
        }
        for need in &node.needs {
            asked.push(candidate.task);
            tenants.push(candidate.task.session.tenant.0);
            sessions.push(candidate.task.session.id.0);
            seqs.push(seq_of(candidate, plan, *need));
        }
    }
    if asked.is_empty() {
        return Ok(good);
    }
    let slots = sqlx::query_scalar!(
        r#"select k.slot as "slot!"
             from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
                  as k (tenant_id, session_id, seq, slot)
             join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
                         and t.seq = k.seq
            where t.state = $4 or (t.state = $5 and t.flags & $6 <> 0)"#,
        &tenants,
        &sessions,
        &seqs,
        TaskState::Completed.code(),
        TaskState::Failed.code(),
        flags::CONTINUE
    )
    .fetch_all(&store.pool)
    .await?;
    let found = slots.into_iter().filter_map(|slot| usize::try_from(slot - 1).ok());
    good.extend(found.filter_map(|at| asked.get(at)));
    Ok(good)
}

/// Turns a decision into moves.
async fn apply(
    store: &Store,
    candidate: &Candidate,
    info: &SessionInfo,
    decision: Decision,
    Batch { moves, wishes, inside, preferring }: &mut Batch,
) -> sqlx::Result<()> {
    let (plan, to) = (&info.version.plan, |state| candidate.to(state));
    let node = plan.node(candidate.node);
    let timeout = timeout(candidate, plan);
    match decision {
        Decision::Ready if candidate.is(flags::BUDGET) => {
            wishes.push((moves.len(), Wish::Budget { row: candidate.row() }));
            moves.push(ask::share(to(TaskState::Blocked)));
        }
        Decision::Ready => {
            preferring.extend(prefer::of(plan, candidate.row()).map(|it| (moves.len(), it)));
            moves.push(to(TaskState::Ready));
        }
        Decision::Complete => {
            let mut start = to(TaskState::Blocked);
            start.reason = Some(Reason::Children);
            start.children = Some(0);
            moves.push(start);
        }
        Decision::Skip(reason) => {
            let mut skip = to(TaskState::Skipped);
            skip.reason = Some(reason);
            skip.body = Some(json!({ "reason": reason }));
            moves.push(skip);
            skip_inside(candidate, plan, reason, moves, inside);
        }
        Decision::Fail(failure) => {
            moves.push(failed(to(TaskState::Failed), failure));
            skip_inside(candidate, plan, Reason::UpstreamFailed, moves, inside);
        }
        Decision::Sleep(ms) => {
            let mut sleep = to(TaskState::Blocked);
            sleep.reason = Some(Reason::Sleep);
            sleep.delay_ms = Some(ms.cast_signed());
            moves.push(sleep);
        }
        Decision::Ask(message) => {
            wishes.push((moves.len(), ask::approval(candidate.task, node, message)));
            moves.push(ask::wait(to(TaskState::Blocked), Reason::Approval, timeout));
        }
        Decision::Await(name) => {
            wishes.push((moves.len(), Wish::Signal { row: candidate.row(), name }));
            moves.push(ask::wait(to(TaskState::Blocked), Reason::Signal, timeout));
        }
        Decision::Child => {
            let mut wait = to(TaskState::Blocked);
            wait.reason = Some(Reason::Child);
            wait.delay_ms = Some(0);
            moves.push(wait);
        }
        Decision::Start { children, opened } => {
            let mut start = to(TaskState::Blocked);
            start.reason = Some(Reason::Children);
            start.children = Some(children);
            start.delay_ms = timeout;
            start.opened = opened.iter().map(|child| seq_of(candidate, plan, *child)).collect();
            moves.push(start);
        }
        Decision::Expand(items) => {
            let fan_out =
                plan.group(candidate.node).and_then(|group| FanOut::of_items(group, &items));
            moves.push(fan(store, candidate, info, fan_out).await?);
        }
        Decision::Repeat => {
            let fan_out = plan.group(candidate.node).and_then(FanOut::of_rounds);
            moves.push(fan(store, candidate, info, fan_out).await?);
        }
    }
    Ok(())
}

/// Reserves what a group lays down; the move by which it begins, or fails.
async fn fan(
    store: &Store,
    candidate: &Candidate,
    info: &SessionInfo,
    fan_out: Option<FanOut>,
) -> sqlx::Result<Move> {
    let plan = &info.version.plan;
    let mut start = candidate.to(TaskState::Blocked);
    let Some(fan_out) = fan_out else { return Ok(start) };
    let reserved = expand::reserve(store, candidate.task, info.version.id, plan, fan_out).await?;
    Ok(match reserved {
        Ok(children) => {
            start.reason = Some(Reason::Children);
            start.children = Some(children);
            start.delay_ms = timeout(candidate, plan);
            start
        }
        Err(failure) => failed(candidate.to(TaskState::Failed), failure),
    })
}

fn failed(mut to_failed: Move, failure: Failure) -> Move {
    to_failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
    to_failed.error = Some(failure);
    to_failed
}

/// The row of another node of the same block.
fn seq_of(candidate: &Candidate, plan: &Plan, node: NodeIndex) -> i32 {
    candidate.base(plan) + plan.node(node).position
}

/// What was laid down inside a group that never begins is skipped with it.
fn skip_inside(
    candidate: &Candidate,
    plan: &Plan,
    reason: Reason,
    moves: &mut Vec<Move>,
    inside: &mut Vec<(usize, TaskKey)>,
) {
    let nodes = if candidate.is(flags::ITEM) {
        let block = plan.group(candidate.node).and_then(Group::block);
        block.map(|block| plan.block(block).nodes.clone()).unwrap_or_default()
    } else {
        flow::inside(plan, candidate.node)
    };
    for node in nodes {
        let seq = seq_of(candidate, plan, node);
        let task = TaskKey { session: candidate.task.session, seq };
        let mut skip = Move::new(task, 0, TaskState::Pending, TaskState::Skipped);
        skip.reason = Some(reason);
        skip.body = Some(json!({ "reason": reason }));
        skip.quiet = true;
        inside.push((moves.len(), candidate.task));
        moves.push(skip);
    }
}
