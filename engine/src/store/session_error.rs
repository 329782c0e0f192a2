//! What made a session fail, where the session itself has no error: the first of its tasks that
//! failed without being allowed to.

use sqlx::types::Json;
use uuid::Uuid;

use super::{
    flags,
    session_view::SessionObject,
    view::{ReadError, Views},
};
use crate::{id::SessionKey, outcome::Failure, session::SessionState};

/// Rows of a session that are looked at.
const ROWS_MAX: i32 = 10_000;

struct FirstFailure {
    session_id: Uuid,
    seq: i32,
    error: Json<Failure>,
}

impl Views {
    /// Gives failed sessions without an error of their own that of a task.
    pub(super) async fn explain_failures(
        &self,
        sessions: &mut [SessionObject],
    ) -> Result<(), ReadError> {
        let is_unexplained = |session: &SessionObject| {
            session.status == SessionState::Failed && session.error.is_none()
        };
        let ids: Vec<Uuid> =
            sessions.iter().filter(|session| is_unexplained(session)).map(|it| it.id.0).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let failures = self.first_failures(&ids).await?;
        for session in sessions {
            let Some(first) = failures.iter().find(|first| first.session_id == session.id.0) else {
                continue;
            };
            let key = SessionKey { tenant: self.tenant, id: session.id };
            let version = self.version_of(key).await?;
            let paths = self.paths(key, &version.plan, [first.seq], []).await?;
            let task = paths.path(&version.plan, first.seq).unwrap_or_default();
            let message = format!("`{task}` failed: {}", first.error.message);
            session.error = Some(Failure::new(first.error.class, message));
        }
        Ok(())
    }

    /// A task rather than the group it stands in, where both failed.
    async fn first_failures(&self, sessions: &[Uuid]) -> sqlx::Result<Vec<FirstFailure>> {
        sqlx::query_as!(
            FirstFailure,
            r#"select s.id as "session_id!", t.seq, t.error as "error!: Json<Failure>"
                 from unnest($2::uuid[]) as s (id)
                cross join lateral (
                          select t.seq, t.error
                            from tasks t
                           where t.tenant_id = $1 and t.session_id = s.id and t.seq <= $3
                             and t.state = 7 and t.flags & $4 = 0 and t.error is not null
                           order by t.flags & $5 desc, t.seq
                           limit 1
                      ) t"#,
            self.tenant.0,
            sessions,
            ROWS_MAX,
            flags::ALLOWED,
            flags::EXECUTABLE,
        )
        .fetch_all(&self.db)
        .await
    }
}
