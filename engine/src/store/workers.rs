//! Workers: their rows, leases and routes. Only the database's clock decides about a lease.

use std::collections::BTreeMap;

use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use crate::{
    id::{Fence, SessionId, TenantId, WorkerId},
    plan::SessionType,
    routing::{AgentType, Complexity},
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
    pub profile: &'a Profile,
    /// The one session that it serves, where it serves only one.
    pub only_session: Option<SessionId>,
}

/// What a worker is good for, as far as it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Without one it follows from the capabilities.
    pub kind: Option<AgentType>,
    pub technologies: Vec<String>,
    pub avoids: Vec<String>,
    pub complexity: Option<Complexity>,
    /// The types of sessions that it is meant for; none: all.
    pub session_types: Vec<SessionType>,
    pub labels: BTreeMap<String, String>,
}

/// Registers a worker under its new id. A process that takes over a data directory ends at once
/// the leases of those that had it before. An agent that is drained stays so when it starts again.
pub async fn register(db: &PgPool, worker: &NewWorker<'_>) -> sqlx::Result<()> {
    let follows: Vec<Uuid> = worker.follows.iter().map(|id| id.0).collect();
    let profile = worker.profile;
    let kind = profile.kind.unwrap_or_else(|| AgentType::of_capabilities(worker.capabilities));
    let session_types: Vec<String> =
        profile.session_types.iter().map(|it| it.as_str().to_owned()).collect();
    sqlx::query!(
        "with ended as (
             update workers set ended_at = clock()
              where ended_at is null and id = any($10::uuid[]) and id <> $1
         ), agent as (
             insert into agents (name, registered_at) values ($2, clock())
                 on conflict on constraint agents_pkey
                 do update set registered_at = excluded.registered_at
             returning drained_at, drained_by, drain_reason, maintenance
         ), profile as (
             insert into agent_profiles (worker_id, kind, technologies, avoids, complexity,
                                         session_types, labels,
                                         drained_by, drain_reason, maintenance)
             select $1, $11, $12, $13, $14, $15, $16,
                    a.drained_by, a.drain_reason, a.maintenance
               from agent a
         )
         insert into workers (id, name, host, pid, capabilities, concurrency, version, data_dir,
                              started_at, lease_until, only_session, drained_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, c.at, c.at + make_interval(secs => $9),
                $17, a.drained_at
           from (select clock() as at) c
          cross join agent a",
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
        kind.code(),
        &profile.technologies,
        &profile.avoids,
        profile.complexity.unwrap_or(Complexity::Medium).code(),
        &session_types,
        Json(&profile.labels) as _,
        worker.only_session.map(|id| id.0),
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
pub async fn forget_ended(db: &PgPool) -> sqlx::Result<usize> {
    let mut tx = db.begin().await?;
    let gone =
        sqlx::query_file_scalar!("src/store/sql/forget_ended.sql").fetch_all(&mut *tx).await?;
    sqlx::query!("delete from agent_profiles where worker_id = any($1)", &gone)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(gone.len())
}

/// The routes that a worker with these capabilities can serve; `*` among them serves all.
pub async fn routes(db: &PgPool, capabilities: &[String]) -> sqlx::Result<Vec<i32>> {
    sqlx::query_file_scalar!("src/store/sql/routes.sql", capabilities).fetch_all(db).await
}

/// The same by the tenants whose routes they are; none for a worker that is drained.
pub async fn lanes(db: &PgPool, id: WorkerId, capabilities: &[String]) -> sqlx::Result<Vec<Lane>> {
    let rows =
        sqlx::query_file!("src/store/sql/lanes.sql", capabilities, id.0).fetch_all(db).await?;
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
