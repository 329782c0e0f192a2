//! Who asks: a task that would be ready gets its accounts and begins to wait for its share; a child
//! session gets an account of its own, a slice of what is above it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{LOOK, SESSION, mark};
use crate::{
    budget::{Budget, Caps, OnExceed},
    id::{SessionKey, TaskKey},
    plan::{Kind, NodeIndex, Plan},
    store::{SessionInfo, flags},
};

/// The accounts of a row in its session, from the inside out; the session's is the last.
pub(super) struct Chain {
    root: Uuid,
    seqs: Vec<i32>,
    /// What attempts put aside that say nothing themselves.
    shares: Caps,
}

/// A row waits from now on until its share is put aside. The caller moved it there, and so holds its
/// session.
pub(in crate::store) async fn ask(
    tx: &mut PgConnection,
    info: &SessionInfo,
    task: TaskKey,
    node: NodeIndex,
) -> sqlx::Result<()> {
    let plan = &info.version.plan;
    let chain = chain(tx, plan, task).await?;
    let need = plan.node(node).need(chain.shares);
    sqlx::query!(
        "insert into reservations (tenant_id, session_id, seq, root_id, accounts, most, strict, agent)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict on constraint reservations_pkey do update
            set accounts = excluded.accounts, most = excluded.most, strict = excluded.strict,
                asked_at = clock(), said = false
          where not reservations.held",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        chain.root,
        &chain.seqs,
        &need.most,
        &need.strict,
        matches!(plan.node(node).kind, Kind::Agent(_)),
    )
    .execute(&mut *tx)
    .await?;
    mark(tx, &[task.session], LOOK).await.map(|_| ())
}

/// The accounts of a row, made where they are missing.
pub(super) async fn chain(
    tx: &mut PgConnection,
    plan: &Plan,
    task: TaskKey,
) -> sqlx::Result<Chain> {
    let key = task.session;
    let rows = sqlx::query!(
        r#"with recursive up as (
               select t.seq, t.node, t.parent, t.flags, t.item_key, 0 as depth
                 from tasks t
                where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
                union all
               select t.seq, t.node, t.parent, t.flags, t.item_key, u.depth + 1
                 from up u
                 join tasks t on t.tenant_id = $1 and t.session_id = $2 and t.seq = u.parent
           )
           select seq as "seq!", node as "node!", flags as "flags!", item_key from up
            order by depth desc"#,
        key.tenant.0,
        key.id.0,
        task.seq
    )
    .fetch_all(&mut *tx)
    .await?;
    let (root, mut shares) = session_account(tx, key, plan).await?;
    let (mut seqs, mut items) = (vec![SESSION], Vec::new());
    for row in rows {
        if row.flags & flags::ITEM != 0 {
            items.push(row.item_key.unwrap_or_default());
            continue;
        }
        let node = NodeIndex::from_code(row.node);
        let Some(budget) = &plan.node(node).budget else { continue };
        shares = shares_in(budget, plan.group(node).is_some(), shares);
        let keys: Vec<&str> = items.iter().map(String::as_str).collect();
        let new = New { key, seq: row.seq, root, name: plan.path(node, &keys), shares };
        new.insert(tx, budget).await?;
        seqs.push(row.seq);
    }
    seqs.reverse();
    Ok(Chain { root, seqs, shares })
}

/// What attempts put aside by default within a budget: all of their own; a tenth of one that they
/// share with others.
fn shares_in(budget: &Budget, is_shared: bool, outer: Caps) -> Caps {
    std::array::from_fn(|of| match (budget.limits[of], budget.reserve[of]) {
        (Some(_), Some(reserve)) => Some(reserve),
        (Some(limit), None) if is_shared => Some((limit / 10).max(1)),
        (Some(limit), None) => Some(limit),
        (None, _) => outer[of],
    })
}

struct New {
    key: SessionKey,
    seq: i32,
    root: Uuid,
    name: String,
    shares: Caps,
}

impl New {
    async fn insert(&self, tx: &mut PgConnection, budget: &Budget) -> sqlx::Result<()> {
        sqlx::query!(
            "insert into budgets (tenant_id, session_id, seq, root_id, name, limits, shares, on_exceed)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
                 on conflict on constraint budgets_pkey do nothing",
            self.key.tenant.0,
            self.key.id.0,
            self.seq,
            self.root,
            self.name,
            &budget.limits as _,
            &self.shares as _,
            budget.on_exceed.code(),
        )
        .execute(tx)
        .await
        .map(|_| ())
    }
}

const UNLIMITED: Budget =
    Budget { limits: [None; 3], reserve: [None; 3], on_exceed: OnExceed::Pause };

/// The account of the session itself: the root of the tree, and its shares.
pub(super) async fn session_account(
    tx: &mut PgConnection,
    key: SessionKey,
    plan: &Plan,
) -> sqlx::Result<(Uuid, Caps)> {
    let found = sqlx::query!(
        r#"select root_id, shares as "shares: Vec<Option<i64>>" from budgets
            where tenant_id = $1 and session_id = $2 and seq = 0"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(found) = found {
        return Ok((found.root_id, super::caps(&found.shares)));
    }
    let budget = plan.budget.unwrap_or(UNLIMITED);
    let shares = shares_in(&budget, true, [None; 3]);
    let new = New { key, seq: SESSION, root: key.id.0, name: String::new(), shares };
    new.insert(tx, &budget).await?;
    Ok((key.id.0, shares))
}

/// A child session draws from the budgets around the task that it is, if there are any. It was created
/// in this transaction.
pub(in crate::store) async fn fund(
    tx: &mut PgConnection,
    info: &SessionInfo,
    (task, node): (TaskKey, NodeIndex),
    (child, plan): (SessionKey, &Plan),
) -> sqlx::Result<()> {
    if !info.funded && !info.version.plan.has_budget_around(node) {
        return Ok(());
    }
    let above = chain(tx, &info.version.plan, task).await?;
    let limited = above.shares.map(|share| share.is_some());
    if limited == [false; 3] {
        return Ok(());
    }
    let budget = plan.budget.unwrap_or(UNLIMITED);
    let shares = shares_in(&budget, true, above.shares);
    sqlx::query!(
        "with account as (
             insert into budgets (tenant_id, session_id, seq, root_id, name, limits, shares, on_exceed,
                                  credit, told, above_id, above_seqs)
             values ($1, $2, 0, $3, '', $4, $5, $6, '{0,0,0}', '{0,0,0}', $7, $8)
         ), session as (
             update sessions set funded = true where tenant_id = $1 and id = $2
         )
         update tasks t
            set flags = (t.flags | $10::smallint) & ~$11::smallint,
                undecided = t.undecided or t.state = 1, state = 0, queued = false,
                ready_at = null, rank = null
          where t.tenant_id = $1 and t.session_id = $2 and t.node = any ($9)
            and t.state in (0, 1) and t.flags & $10 = 0",
        child.tenant.0,
        child.id.0,
        above.root,
        &budget.limits as _,
        &shares as _,
        budget.on_exceed.code(),
        task.session.id.0,
        &above.seqs,
        &spenders(plan, limited),
        flags::BUDGET,
        flags::PLAIN,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn spenders(plan: &Plan, limited: [bool; 3]) -> Vec<i32> {
    plan.spenders(limited).into_iter().map(NodeIndex::code).collect()
}

/// Rows of a funded session that were laid down just now wait for their shares too.
pub(in crate::store) async fn fund_rows(
    tx: &mut PgConnection,
    key: SessionKey,
    plan: &Plan,
    from: i32,
) -> sqlx::Result<()> {
    let (_, shares) = session_account(tx, key, plan).await?;
    sqlx::query!(
        "update tasks t
            set flags = (t.flags | $5::smallint) & ~$6::smallint,
                undecided = t.undecided or t.state = 1, state = 0, queued = false,
                ready_at = null, rank = null
          where t.tenant_id = $1 and t.session_id = $2 and t.seq >= $3 and t.node = any ($4)
            and t.state in (0, 1) and t.flags & $5 = 0 and t.flags & $7 = 0",
        key.tenant.0,
        key.id.0,
        from,
        &spenders(plan, shares.map(|share| share.is_some())),
        flags::BUDGET,
        flags::PLAIN,
        flags::ITEM,
    )
    .execute(tx)
    .await
    .map(|_| ())
}
