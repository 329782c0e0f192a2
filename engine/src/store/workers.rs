//! Workers: their rows, leases and routes. Only the database's clock decides about a lease.

use std::collections::BTreeMap;

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    id::{Fence, TenantId, WorkerId},
    turns::Lane,
};

/// What a worker says of itself when it registers.
#[derive(Debug, Clone)]
pub struct NewWorker<'a> {
    pub id: WorkerId,
    pub name: &'a str,
    pub host: &'a str,
    pub pid: i32,
    /// Sorted; `*` stands for all.
    pub capabilities: &'a [String],
    pub concurrency: i32,
    pub version: &'a str,
    pub data_dir: Option<&'a str>,
    pub lease_secs: i32,
    /// The workers that had the data directory before it.
    pub follows: &'a [WorkerId],
}

/// Registers a worker under its new id. A process that takes over a data directory ends at once
/// the leases of those that had it before.
pub async fn register(db: &PgPool, worker: &NewWorker<'_>) -> sqlx::Result<()> {
    let follows: Vec<Uuid> = worker.follows.iter().map(|id| id.0).collect();
    sqlx::query!(
        "with ended as (
             update workers set ended_at = clock()
              where ended_at is null and id = any($10::uuid[]) and id <> $1
         )
         insert into workers (id, name, host, pid, capabilities, concurrency, version, data_dir,
                              started_at, lease_until)
         select $1, $2, $3, $4, $5, $6, $7, $8, c.at, c.at + make_interval(secs => $9)
           from (select clock() as at) c",
        worker.id.0,
        worker.name,
        worker.host,
        worker.pid,
        worker.capabilities,
        worker.concurrency,
        worker.version,
        worker.data_dir,
        f64::from(worker.lease_secs),
        &follows,
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// Renews the lease. False when it has run out or was ended: it is never renewed then.
pub async fn renew(db: &PgPool, id: WorkerId, lease_secs: i32) -> sqlx::Result<bool> {
    sqlx::query_file!("src/store/sql/renew.sql", id.0, f64::from(lease_secs),)
        .execute(db)
        .await
        .map(|done| done.rows_affected() == 1)
}

/// Ends a worker's row: it stopped by itself and holds nothing.
pub async fn end(db: &PgPool, id: WorkerId) -> sqlx::Result<()> {
    sqlx::query!("update workers set ended_at = clock() where id = $1 and ended_at is null", id.0)
        .execute(db)
        .await
        .map(|_| ())
}

/// Marks workers whose lease ran out as ended, and returns how many there were.
pub async fn end_expired(db: &PgPool) -> sqlx::Result<u64> {
    sqlx::query_file!("src/store/sql/end_expired.sql")
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}

/// Deletes rows of workers that ended long ago and left nothing behind, some at a time. Until then
/// they name the agents of what they did.
pub async fn forget_ended(db: &PgPool) -> sqlx::Result<u64> {
    sqlx::query_file!("src/store/sql/forget_ended.sql")
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}

/// The routes that a worker with these capabilities can serve; `*` among them serves all.
pub async fn routes(db: &PgPool, capabilities: &[String]) -> sqlx::Result<Vec<i32>> {
    sqlx::query_file_scalar!("src/store/sql/routes.sql", capabilities).fetch_all(db).await
}

/// The same by the tenants whose routes they are.
pub async fn lanes(db: &PgPool, capabilities: &[String]) -> sqlx::Result<Vec<Lane>> {
    let rows = sqlx::query_file!("src/store/sql/lanes.sql", capabilities).fetch_all(db).await?;
    let mut lanes: BTreeMap<Uuid, Lane> = BTreeMap::new();
    for row in rows {
        let lane = lanes.entry(row.tenant_id).or_insert_with(|| Lane {
            tenant: TenantId(row.tenant_id),
            weight: row.weight,
            routes: Vec::new(),
        });
        lane.routes.push(row.id);
    }
    Ok(lanes.into_values().collect())
}

/// Routes that one look for live ones finds at most.
const LIVE_MAX: i32 = 1_000;

/// The routes that have something ready, from the one after `after` on; where there are more than one
/// look finds, another goes on after the last of them.
pub async fn live_routes(db: &PgPool, after: i32) -> sqlx::Result<(Vec<i32>, Option<i32>)> {
    let routes = sqlx::query_file_scalar!("src/store/sql/live_routes.sql", after, LIVE_MAX)
        .fetch_all(db)
        .await?;
    let is_cut = i32::try_from(routes.len()).is_ok_and(|count| count == LIVE_MAX);
    let last = routes.last().copied().filter(|_| is_cut);
    Ok((routes, last))
}

/// How a fence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Holds,
    /// Somebody else ended the attempt, or its session ended or is failing fast.
    Void,
    /// Its session is being stopped: the attempt is to come to an end.
    Stopping,
}

/// How these fences stand, in their order.
pub async fn standings(db: &PgPool, fences: &[Fence]) -> sqlx::Result<Vec<Standing>> {
    let tenants: Vec<Uuid> = fences.iter().map(|fence| fence.task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = fences.iter().map(|fence| fence.task.session.id.0).collect();
    let seqs: Vec<i32> = fences.iter().map(|fence| fence.task.seq).collect();
    let attempts: Vec<i32> = fences.iter().map(|fence| fence.attempt).collect();
    let workers: Vec<Uuid> = fences.iter().map(|fence| fence.worker.0).collect();
    let codes = sqlx::query_file_scalar!(
        "src/store/sql/void_fences.sql",
        &tenants,
        &sessions,
        &seqs,
        &attempts,
        &workers
    )
    .fetch_all(db)
    .await?;
    let standing = |code: &i32| match code {
        0 => Standing::Holds,
        2 => Standing::Stopping,
        _ => Standing::Void,
    };
    Ok(codes.iter().map(standing).collect())
}
