//! What `jobshop bench` measures in the database: times and counters of sessions, and the bare bound
//! that the same row writes have without Jobshop around them.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::claim::{self, Ask};
use crate::id::{SessionKey, TenantId};

/// Counters of the whole database; differences of two readings are what happened in between.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    pub commits: i64,
    pub wal_bytes: i64,
}

/// Reads the counters. Commits of other connections show within about a second.
pub async fn meter(db: &PgPool) -> sqlx::Result<Meter> {
    sqlx::query_as!(
        Meter,
        r#"select (select xact_commit from pg_stat_database
                    where datname = current_database()) as "commits!",
                  (pg_current_wal_lsn() - '0/0')::int8  as "wal_bytes!""#
    )
    .fetch_one(db)
    .await
}

/// How far a set of sessions is. Times are seconds since the first of them was created.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub ended: i64,
    pub tasks: i64,
    pub events: i64,
    pub first_start: Option<f64>,
    pub last_end: Option<f64>,
}

/// Reads how far the sessions are.
pub async fn progress(db: &PgPool, sessions: &[SessionKey]) -> sqlx::Result<Progress> {
    let (tenant, ids) = columns(sessions);
    sqlx::query_as!(
        Progress,
        r#"select count(*) filter (where p.state >= 5) as "ended!",
                  coalesce(sum(p.total), 0)::int8      as "tasks!",
                  coalesce(sum(p.next_event - 1), 0)::int8 as "events!",
                  extract(epoch from min(p.started_at) - min(s.created_at))::float8 as first_start,
                  extract(epoch from max(p.finished_at) - min(s.created_at))::float8 as last_end
             from unnest($2::uuid[]) as k (id)
            cross join lateral (select p.* from session_progress p
                                 where p.tenant_id = $1 and p.session_id = k.id offset 0) p
            cross join lateral (select s.created_at from sessions s
                                 where s.tenant_id = $1 and s.id = k.id offset 0) s"#,
        tenant,
        &ids
    )
    .fetch_one(db)
    .await
}

/// How many tasks are ready, of whatever tenant; counted up to 10 000.
pub async fn ready(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select from tasks where queued limit 10000) t"#
    )
    .fetch_one(db)
    .await
}

/// Milliseconds from each session's creation to the start of its first task.
pub async fn start_times(db: &PgPool, sessions: &[SessionKey]) -> sqlx::Result<Vec<f64>> {
    let (tenant, ids) = columns(sessions);
    sqlx::query_scalar!(
        r#"select (extract(epoch from min(t.started_at) - s.created_at) * 1000)::float8 as "ms!"
             from unnest($2::uuid[]) as k (id)
             join sessions s on s.tenant_id = $1 and s.id = k.id
             join tasks t on t.tenant_id = $1 and t.session_id = k.id
            where t.started_at is not null
            group by s.id, s.created_at"#,
        tenant,
        &ids
    )
    .fetch_all(db)
    .await
}

/// Milliseconds between the ends of a session's tasks, in the order in which they ended.
pub async fn step_times(db: &PgPool, session: SessionKey) -> sqlx::Result<Vec<f64>> {
    sqlx::query_scalar!(
        r#"select (extract(epoch from finished_at - before) * 1000)::float8 as "ms!"
             from (select finished_at,
                          lag(finished_at) over (order by finished_at, seq) as before
                     from tasks
                    where tenant_id = $1 and session_id = $2 and finished_at is not null) t
            where before is not null"#,
        session.tenant.0,
        session.id.0
    )
    .fetch_all(db)
    .await
}

/// The settings of Postgres that decide how fast it may be.
pub async fn settings(db: &PgPool) -> sqlx::Result<Value> {
    sqlx::query_scalar!(
        r#"select jsonb_object_agg(name, current_setting(name)) as "settings!"
             from unnest(array['server_version', 'fsync', 'synchronous_commit', 'shared_buffers',
                               'max_wal_size', 'wal_level']) as s (name)"#
    )
    .fetch_one(db)
    .await
}

/// Times claims of `limit` tasks, each rolled back, in milliseconds.
pub async fn claim_times(db: &PgPool, ask: Ask<'_>, times: usize) -> sqlx::Result<Vec<f64>> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let mut tx = db.begin().await?;
        let begun = Instant::now();
        claim::claim_once(&mut *tx, ask).await?;
        taken.push(begun.elapsed().as_secs_f64() * 1000.0);
        tx.rollback().await?;
    }
    Ok(taken)
}

/// Drains so many rows of a table like `tasks` with nothing but the row writes of claim and finish:
/// no sessions, no events, no fences.
pub async fn bare_drain(db: &PgPool, tasks: i32, batch: i32) -> sqlx::Result<Duration> {
    sqlx::query!("drop table if exists bench_bare").execute(db).await?;
    sqlx::query!(
        "create table bench_bare (like tasks including defaults including indexes)
             with (fillfactor = 50)"
    )
    .execute(db)
    .await?;
    sqlx::query(
        "insert into bench_bare (tenant_id, session_id, seq, node, route, priority, flags, state,
                                 queued, blockers, rank, ready_at)
         select $1, md5((n / 100)::text)::uuid, n, 0, 0, 2, 3, 1, true, 0, clock(), clock()
           from generate_series(1, $2) as n",
    )
    .bind(TenantId::DEFAULT.0)
    .bind(tasks)
    .execute(db)
    .await?;
    let begun = Instant::now();
    let mut left = i64::from(tasks);
    while left > 0 {
        let rows: Vec<(Uuid, Uuid, i32)> = sqlx::query_as(
            "update bench_bare t
                set state = 3, queued = false, attempt = attempt + 1, worker = $1
              where ctid = any (array(select ctid from bench_bare
                                       where queued and route = 0
                                       order by rank limit $2 for update skip locked))
             returning tenant_id, session_id, seq",
        )
        .bind(Uuid::nil())
        .bind(batch)
        .fetch_all(db)
        .await?;
        if rows.is_empty() {
            break;
        }
        left -= i64::try_from(rows.len()).unwrap_or(left);
        let sessions: Vec<Uuid> = rows.iter().map(|row| row.1).collect();
        let seqs: Vec<i32> = rows.iter().map(|row| row.2).collect();
        sqlx::query(
            "update bench_bare t set state = 6, finished_at = clock()
               from unnest($2::uuid[], $3::int[]) as i (session_id, seq)
              where t.tenant_id = $1 and t.session_id = i.session_id and t.seq = i.seq
                and t.state = 3",
        )
        .bind(TenantId::DEFAULT.0)
        .bind(&sessions)
        .bind(&seqs)
        .execute(db)
        .await?;
    }
    let taken = begun.elapsed();
    sqlx::query!("drop table bench_bare").execute(db).await?;
    Ok(taken)
}

fn columns(sessions: &[SessionKey]) -> (Uuid, Vec<Uuid>) {
    let tenant = sessions.first().map_or(TenantId::DEFAULT, |key| key.tenant);
    (tenant.0, sessions.iter().map(|key| key.id.0).collect())
}
