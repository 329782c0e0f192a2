//! How much there is to do in a tenant, for monitors: counted when asked, within bounds.

use super::view::{ReadError, Views, unknown_code};
use crate::session::SessionState;

/// What a monitor is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The newest 100 000 sessions by state; states without one are listed too.
    pub sessions: Vec<(SessionState, i64)>,
    /// Ready tasks of the first 100 routes by what they require, counted up to 10 000 each.
    pub ready: Vec<(Vec<String>, i64)>,
    /// Approvals that wait for people, counted up to 10 000.
    pub approvals: i64,
}

impl Views {
    pub async fn load(&self) -> Result<Load, ReadError> {
        Ok(Load {
            sessions: self.sessions_by_state().await?,
            ready: self.ready_by_route().await?,
            approvals: self.open_approvals().await?,
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), ReadError> {
        sqlx::query_scalar!("select 1").fetch_one(&self.db).await?;
        Ok(())
    }

    async fn sessions_by_state(&self) -> sqlx::Result<Vec<(SessionState, i64)>> {
        let rows = sqlx::query!(
            r#"select s.state as "state!", count(*) as "count!"
                 from (select state from session_progress
                        where tenant_id = $1
                        order by session_id desc
                        limit 100000) s
                group by s.state"#,
            self.tenant.0,
        )
        .fetch_all(&self.db)
        .await?;
        let mut counts = SessionState::ALL.map(|state| (state, 0)).to_vec();
        for row in rows {
            let count = usize::try_from(row.state).ok().and_then(|index| counts.get_mut(index));
            count.ok_or_else(|| unknown_code("state of a session", row.state))?.1 = row.count;
        }
        Ok(counts)
    }

    async fn ready_by_route(&self) -> sqlx::Result<Vec<(Vec<String>, i64)>> {
        let rows = sqlx::query!(
            r#"select r.capabilities, t.count as "count!"
                 from (select id, capabilities from routes
                        where tenant_id = $1
                        order by id
                        limit 100) r
                cross join lateral (
                          select count(*) as count
                            from (select from tasks
                                   where route = r.id and queued
                                   limit 10000) t
                      ) t"#,
            self.tenant.0,
        )
        .fetch_all(&self.db)
        .await?;
        Ok(rows.into_iter().map(|row| (row.capabilities, row.count)).collect())
    }

    async fn open_approvals(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar!(
            r#"select count(*) as "count!"
                 from (select from approvals
                        where tenant_id = $1 and status = 0
                        limit 10000) a"#,
            self.tenant.0,
        )
        .fetch_one(&self.db)
        .await
    }

    /// How many workers live, of whatever tenant their tasks are.
    pub async fn live_workers(&self) -> Result<i32, ReadError> {
        let count = sqlx::query_scalar!(
            r#"select count(*)::int as "count!"
                 from workers
                where ended_at is null and lease_until > (select clock())"#
        )
        .fetch_one(&self.db)
        .await?;
        Ok(count)
    }
}
