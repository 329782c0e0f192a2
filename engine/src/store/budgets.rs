//! The books of budgets in the database: accounts, what is put aside in them, what was settled. The
//! rules are [`crate::budget`]'s. Whoever changes an account of a session holds the session's row; of
//! several, sessions are locked in their order, then their accounts in that order.

mod asking;
mod granting;
mod raising;
mod settling;
mod telling;

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use self::raising::{RaiseError, raise};
pub(super) use self::{
    asking::{ask, fund, fund_rows},
    granting::tend,
    settling::settle,
    telling::find_left,
};
use crate::{
    budget::{Account, Amounts, Caps, OnExceed, Slice},
    checkpoint::Spend,
    id::{Fence, SessionId, SessionKey, TenantId},
};

/// The account of a session itself.
const SESSION: i32 = 0;

/// What waits has to be looked at.
const LOOK: i16 = 1;
/// Something came free.
const FREED: i16 = 2;

/// An account with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    key: SessionKey,
    seq: i32,
    root: Uuid,
    name: String,
    account: Account,
    shares: Caps,
    on_exceed: OnExceed,
    above: Option<Above>,
    unmetered: i32,
    unpriced: i32,
}

/// The accounts above a slice.
#[derive(Debug, Clone, PartialEq)]
struct Above {
    session: SessionKey,
    seqs: Vec<i32>,
}

/// Accounts by session and row.
type Rows = HashMap<(SessionKey, i32), Row>;

fn amounts(stored: &[i64]) -> Amounts {
    std::array::from_fn(|of| stored.get(of).copied().unwrap_or_default())
}

fn caps(stored: &[Option<i64>]) -> Caps {
    std::array::from_fn(|of| stored.get(of).copied().flatten())
}

/// Locks accounts in their order and reads them.
async fn load(tx: &mut PgConnection, wanted: &[(SessionKey, i32)]) -> sqlx::Result<Rows> {
    let tenants: Vec<Uuid> = wanted.iter().map(|(key, _)| key.tenant.0).collect();
    let sessions: Vec<Uuid> = wanted.iter().map(|(key, _)| key.id.0).collect();
    let seqs: Vec<i32> = wanted.iter().map(|(_, seq)| *seq).collect();
    let rows = sqlx::query!(
        r#"select b.tenant_id, b.session_id, b.seq, b.root_id, b.name,
                  b.limits as "limits: Vec<Option<i64>>", b.shares as "shares: Vec<Option<i64>>",
                  b.on_exceed, b.reserved, b.spent, b.credit, b.told, b.above_id, b.above_seqs,
                  b.unmetered, b.unpriced
             from budgets b
            where (b.tenant_id, b.session_id, b.seq) in
                  (select * from unnest($1::uuid[], $2::uuid[], $3::int[]))
            order by b.tenant_id, b.session_id, b.seq
              for no key update"#,
        &tenants,
        &sessions,
        &seqs
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let tenant = TenantId(row.tenant_id);
            let key = SessionKey { tenant, id: SessionId(row.session_id) };
            let slice = row.credit.zip(row.told);
            let slice = slice
                .map(|(credit, told)| Slice { credit: amounts(&credit), told: amounts(&told) });
            let above = row.above_id.zip(row.above_seqs);
            let above = above.map(|(id, seqs)| Above {
                session: SessionKey { tenant, id: SessionId(id) },
                seqs,
            });
            let account = Account {
                limits: caps(&row.limits),
                reserved: amounts(&row.reserved),
                spent: amounts(&row.spent),
                slice,
            };
            let row = Row {
                key,
                seq: row.seq,
                root: row.root_id,
                name: row.name,
                account,
                shares: caps(&row.shares),
                on_exceed: OnExceed::from_code(row.on_exceed),
                above,
                unmetered: row.unmetered,
                unpriced: row.unpriced,
            };
            ((key, row.seq), row)
        })
        .collect())
}

/// Writes what changed since it was read.
async fn save(tx: &mut PgConnection, before: &Rows, now: &Rows) -> sqlx::Result<()> {
    for (key, row) in now {
        if before.get(key) == Some(row) {
            continue;
        }
        let slice = row.account.slice;
        sqlx::query!(
            "update budgets
                set reserved = $4, spent = $5, credit = $6, told = $7, unmetered = $8, unpriced = $9
              where tenant_id = $1 and session_id = $2 and seq = $3",
            row.key.tenant.0,
            row.key.id.0,
            row.seq,
            &row.account.reserved,
            &row.account.spent,
            slice.map(|slice| slice.credit.to_vec()) as _,
            slice.map(|slice| slice.told.to_vec()) as _,
            row.unmetered,
            row.unpriced,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Has the control loop look at what waits in these sessions.
async fn mark(db: &mut PgConnection, keys: &[SessionKey], due: i16) -> sqlx::Result<u64> {
    let (tenants, sessions): (Vec<Uuid>, Vec<Uuid>) =
        keys.iter().map(|key| (key.tenant.0, key.id.0)).unzip();
    sqlx::query!(
        "with locked as materialized (
             select b.tenant_id, b.session_id from budgets b
              where (b.tenant_id, b.session_id) in
                    (select * from unnest($1::uuid[], $2::uuid[]))
                and b.seq = 0 and b.due < $3
              order by b.tenant_id, b.session_id
                for no key update
         )
         update budgets b set due = $3
           from locked l
          where b.tenant_id = l.tenant_id and b.session_id = l.session_id and b.seq = 0",
        &tenants,
        &sessions,
        due
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}

/// Has what waits in a session looked at again: it goes on.
pub(super) async fn look_again(tx: &mut PgConnection, keys: &[SessionKey]) -> sqlx::Result<()> {
    mark(tx, keys, LOOK).await.map(|_| ())
}

/// A child session is over: what it has drawn and not spent goes back.
pub(super) async fn over(tx: &mut PgConnection, child: SessionKey) -> sqlx::Result<()> {
    mark(tx, &[child], FREED).await.map(|_| ())
}

/// An attempt begins with what was put aside for it, which is returned; `None` when it lost its fence
/// meanwhile.
pub async fn begin(
    db: &PgPool,
    fence: Fence,
    model: Option<&str>,
) -> sqlx::Result<Option<Amounts>> {
    let found = sqlx::query_scalar!(
        "update reservations r
            set attempt = $4, worker = $5, model = $6, spend = null, begun_at = clock()
           from tasks t
          where r.tenant_id = $1 and r.session_id = $2 and r.seq = $3 and r.held
            and t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
            and t.state = 3 and t.attempt = $4 and t.worker = $5
         returning r.amounts",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        model,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|stored| amounts(&stored)))
}

/// What an attempt is known to have taken so far. It counts however the attempt ends.
pub async fn note(db: &PgPool, fence: Fence, spend: &Spend) -> sqlx::Result<()> {
    sqlx::query!(
        "update reservations set spend = $6
          where tenant_id = $1 and session_id = $2 and seq = $3 and held
            and attempt = $4 and worker = $5",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        serde_json::to_value(spend).expect("a spend of ours serialises"),
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// Removes a batch of what an archived session had. Returns how many rows.
pub(super) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
    rows: i64,
) -> sqlx::Result<u64> {
    let spends = sqlx::query!(
        "delete from spends
          where tenant_id = $1 and session_id = $2
            and (seq, number) in (select seq, number from spends
                                   where tenant_id = $1 and session_id = $2
                                   order by seq, number
                                   limit $3
                                     for update skip locked)",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await?;
    let accounts = sqlx::query!(
        "delete from budgets
          where tenant_id = $1 and session_id = $2
            and seq in (select seq from budgets
                         where tenant_id = $1 and session_id = $2
                         order by seq
                         limit $3
                           for update skip locked)",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await?;
    Ok(spends.rows_affected() + accounts.rows_affected())
}
