//! Turns at limits: tasks that take locks, sessions that take places, and what they give back. All of
//! it happens in the transaction of whoever begins to wait or ends, as its last step.
//!
//! Lock order: sessions and tasks of one's own first, then limits by (tenant, kind, name). Rows of
//! others that get their turn are only taken where nobody holds them, so nothing is waited for after
//! the limits; what is left that way is `due`, and the control loop looks at it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, places};
use crate::{
    id::{SessionId, SessionKey, TaskKey, TenantId},
    task::Reason,
};

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Lock = 0,
    Place = 1,
}

impl Kind {
    pub(super) const fn code(self) -> i16 {
        self as i16
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LimitKey {
    pub(super) tenant: Uuid,
    pub(super) kind: i16,
    pub(super) name: String,
}

/// What a row, or a session (row 0), waits for from now on. Its row waits already.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) task: TaskKey,
    pub(super) kind: Kind,
    /// With the capacities that its definition says.
    pub(super) names: Vec<(String, i32)>,
    /// The row becomes ready with it; otherwise the control loop decides what it does.
    pub(super) starts: bool,
    /// It has the oldest holder cancelled.
    pub(super) ousts: bool,
}

/// The row that stands for a session itself.
pub(super) const SESSION: i32 = 0;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// Tasks that are ready now.
    pub(super) ready: i32,
    /// Rows that the control loop has to decide now.
    pub(super) undecided: i32,
    /// Sessions that have their places now.
    pub(super) admitted: Vec<SessionKey>,
}

impl Granted {
    /// Whether the control loop has something to do.
    pub(super) fn is_to_decide(&self) -> bool {
        self.undecided > 0 || !self.admitted.is_empty()
    }
}

/// Gives tickets back, gives others out, and lets those go whose turn it is. The caller touches no
/// rows but its own after that, and commits.
pub(super) async fn settle(
    tx: &mut PgConnection,
    released: &[TaskKey],
    wanted: &[Wanted],
) -> sqlx::Result<Granted> {
    if released.is_empty() && wanted.is_empty() {
        return Ok(Granted::default());
    }
    let columns = Columns::of(wanted);
    // Whoever asks anew has nothing left from before.
    let given_back: Vec<TaskKey> =
        released.iter().copied().chain(wanted.iter().map(|wanted| wanted.task)).collect();
    let limits = lock(tx, &columns, &given_back).await?;
    release(tx, &given_back).await?;
    if !wanted.is_empty() {
        columns.issue(tx).await?;
    }
    grant(tx, &limits).await
}

/// Lets those go whose turn it is at limits that were left `due`, and forgets tickets of rows that
/// neither wait nor hold. Returns how many limits were looked at.
pub(super) async fn look_again(store: &Store, limits: &[LimitKey]) -> sqlx::Result<Granted> {
    let mut tx = store.pool.begin().await?;
    let limits = lock(&mut tx, &Columns::of_limits(limits), &[]).await?;
    forget_strays(&mut tx, &limits).await?;
    let granted = grant(&mut tx, &limits).await?;
    tx.commit().await?;
    Ok(granted)
}

/// Tickets of a session that wait let others pass while the session or their task is paused, and wait
/// on in their old turn after that. The last step of the transaction.
pub(super) async fn park(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<Granted> {
    let seqs = sqlx::query_scalar!(
        "select distinct seq from tickets
          where tenant_id = $1 and session_id = $2 and not held
          limit 100000",
        key.tenant.0,
        key.id.0
    )
    .fetch_all(&mut *tx)
    .await?;
    if seqs.is_empty() {
        return Ok(Granted::default());
    }
    let row = |seq: &i32| TaskKey { session: key, seq: *seq };
    let rows: Vec<TaskKey> = seqs.iter().map(row).collect();
    let limits = lock(tx, &Columns::default(), &rows).await?;
    sqlx::query_file!("src/store/sql/tickets_park.sql", key.tenant.0, key.id.0, &seqs)
        .execute(&mut *tx)
        .await?;
    grant(tx, &limits).await
}

/// Locks limits, those that are named and those of rows, and what has to be known besides.
async fn lock(
    tx: &mut PgConnection,
    named: &Columns,
    rows: &[TaskKey],
) -> sqlx::Result<Vec<LimitKey>> {
    let (of, sessions, seqs) = row_columns(rows);
    let found = sqlx::query_file!(
        "src/store/sql/limits_lock.sql",
        &named.tenants,
        &named.kinds,
        &named.names,
        &named.capacities,
        &named.sessions,
        &of,
        &sessions,
        &seqs
    )
    .fetch_all(tx)
    .await?;
    Ok(found
        .into_iter()
        .map(|row| LimitKey { tenant: row.tenant_id, kind: row.kind, name: row.name })
        .collect())
}

async fn release(tx: &mut PgConnection, rows: &[TaskKey]) -> sqlx::Result<()> {
    let (tenants, sessions, seqs) = row_columns(rows);
    sqlx::query_file!("src/store/sql/tickets_release.sql", &tenants, &sessions, &seqs)
        .execute(tx)
        .await
        .map(|_| ())
}

async fn grant(tx: &mut PgConnection, limits: &[LimitKey]) -> sqlx::Result<Granted> {
    let of = |kind: Kind| {
        let mine = limits.iter().filter(move |limit| limit.kind == kind.code());
        mine.map(|limit| (limit.tenant, limit.name.clone())).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let mut granted = Granted::default();
    let (tenants, names) = of(Kind::Lock);
    if !names.is_empty() {
        let row = sqlx::query_file!(
            "src/store/sql/locks_grant.sql",
            &tenants,
            &names,
            Reason::Lock.code()
        )
        .fetch_one(&mut *tx)
        .await?;
        granted.ready = row.ready;
        granted.undecided = row.undecided + i32::from(row.due);
    }
    let (tenants, names) = of(Kind::Place);
    if !names.is_empty() {
        let rows = sqlx::query_file!("src/store/sql/places_grant.sql", &tenants, &names)
            .fetch_all(&mut *tx)
            .await?;
        let key = |tenant, id| SessionKey { tenant: TenantId(tenant), id: SessionId(id) };
        granted.admitted = rows.into_iter().map(|row| key(row.tenant_id, row.session_id)).collect();
        places::admit(tx, &granted.admitted).await?;
    }
    Ok(granted)
}

/// Tickets whose rows neither wait nor hold: there should be none.
async fn forget_strays(tx: &mut PgConnection, limits: &[LimitKey]) -> sqlx::Result<()> {
    let (tenants, kinds, names) = limit_columns(limits);
    sqlx::query_file!(
        "src/store/sql/tickets_stray.sql",
        &tenants,
        &kinds,
        &names,
        Reason::Lock.code()
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn limit_columns(limits: &[LimitKey]) -> (Vec<Uuid>, Vec<i16>, Vec<String>) {
    let tenants = limits.iter().map(|limit| limit.tenant).collect();
    let kinds = limits.iter().map(|limit| limit.kind).collect();
    (tenants, kinds, limits.iter().map(|limit| limit.name.clone()).collect())
}

fn row_columns(rows: &[TaskKey]) -> (Vec<Uuid>, Vec<Uuid>, Vec<i32>) {
    let tenants = rows.iter().map(|task| task.session.tenant.0).collect();
    let sessions = rows.iter().map(|task| task.session.id.0).collect();
    (tenants, sessions, rows.iter().map(|task| task.seq).collect())
}

/// Tickets to be given out, as columns.
#[derive(Default)]
struct Columns {
    tenants: Vec<Uuid>,
    sessions: Vec<Uuid>,
    seqs: Vec<i32>,
    kinds: Vec<i16>,
    names: Vec<String>,
    capacities: Vec<i32>,
    starts: Vec<bool>,
    ousts: Vec<bool>,
}

impl Columns {
    fn of(wanted: &[Wanted]) -> Self {
        let mut columns = Self::default();
        for row in wanted {
            for (name, capacity) in &row.names {
                columns.tenants.push(row.task.session.tenant.0);
                columns.sessions.push(row.task.session.id.0);
                columns.seqs.push(row.task.seq);
                columns.kinds.push(row.kind.code());
                columns.names.push(name.clone());
                columns.capacities.push(*capacity);
                columns.starts.push(row.starts);
                columns.ousts.push(row.ousts);
            }
        }
        columns
    }

    /// Limits that are there already.
    fn of_limits(limits: &[LimitKey]) -> Self {
        let (tenants, kinds, names) = limit_columns(limits);
        Self {
            capacities: vec![1; names.len()],
            sessions: vec![Uuid::nil(); names.len()],
            tenants,
            kinds,
            names,
            ..Self::default()
        }
    }

    async fn issue(&self, tx: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query_file!(
            "src/store/sql/tickets_issue.sql",
            &self.tenants,
            &self.sessions,
            &self.seqs,
            &self.kinds,
            &self.names,
            &self.capacities,
            &self.starts,
            &self.ousts
        )
        .execute(tx)
        .await
        .map(|_| ())
    }
}
