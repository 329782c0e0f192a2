//! Sessions as users see them: one by its id or the end of it, and lists.

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use super::session_object::{Fork, SessionObject, WorkflowName};
use super::{
    flags,
    session_counts::COUNTED_AT_ONCE_MAX,
    session_object::SessionRow,
    view::{Page, ReadError, Views, cut, from_cursor, only, rows_to_read, tail_of, to_cursor},
};
use crate::{
    id::{SessionId, SessionKey},
    outcome::Failure,
    plan::SessionType,
    session::SessionState,
};

/// What a list of sessions is narrowed to; everything given has to hold.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    pub states: Option<Vec<SessionState>>,
    pub workflow: Option<String>,
    pub tag: Option<String>,
    pub kind: Option<SessionType>,
    /// Created then or later.
    pub since: Option<DateTime<Utc>>,
}

impl Views {
    /// The session with this key.
    pub async fn session(&self, key: SessionKey) -> Result<SessionObject, ReadError> {
        let mut found = self.sessions_by_id(&[key.id.0]).await?;
        self.unless_gone(key, found.pop()).await
    }

    /// Whether the session has ended. What was open in it may still be ending.
    pub async fn is_final(&self, key: SessionKey) -> Result<bool, ReadError> {
        Ok(self.how_far(key).await?.0)
    }

    /// Whether the session has ended, and everything in it: without a retry it writes no more
    /// events then.
    pub async fn is_over(&self, key: SessionKey) -> Result<bool, ReadError> {
        Ok(self.how_far(key).await?.1)
    }

    async fn how_far(&self, key: SessionKey) -> Result<(bool, bool), ReadError> {
        let row = sqlx::query!(
            "select state, sweep, open from session_progress
              where tenant_id = $1 and session_id = $2",
            key.tenant.0,
            key.id.0
        )
        .fetch_optional(&self.db)
        .await?;
        let row = self.unless_gone(key, row).await?;
        let is_final = SessionState::from_code(row.state).is_some_and(SessionState::is_final);
        Ok((is_final, is_final && row.sweep == 0 && row.open == 0))
    }

    /// Sessions, newest first.
    pub async fn sessions(
        &self,
        filter: &SessionFilter,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<SessionObject>, ReadError> {
        let before = cursor.map(from_cursor).transpose()?.map_or(Uuid::max(), Uuid::from_bytes);
        let states: Option<Vec<i16>> =
            filter.states.as_ref().map(|states| states.iter().map(|state| state.code()).collect());
        let read = rows_to_read(limit);
        let mut ids = sqlx::query_scalar!(
            "select s.id
               from sessions s
               join session_progress p on p.tenant_id = s.tenant_id and p.session_id = s.id
               join workflow_versions v on v.tenant_id = s.tenant_id and v.id = s.version_id
              where s.tenant_id = $1
                and s.id < $2
                and ($3::smallint[] is null or p.state = any($3))
                and ($4::text is null or v.name = $4)
                and ($5::text is null or $5 = any(s.tags))
                and ($7::text is null or s.type = $7)
                and ($8::timestamptz is null or s.created_at >= $8)
                and s.id >= $9
                and s.deleted_at is null
              order by s.id desc
              limit $6",
            self.tenant.0,
            before,
            states.as_deref(),
            filter.workflow.as_deref(),
            filter.tag.as_deref(),
            read,
            filter.kind.map(SessionType::as_str),
            filter.since,
            filter.since.map_or(Uuid::nil(), first_id),
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut ids, read);
        let next = if more { ids.last().map(|id| to_cursor(id.as_bytes())) } else { None };
        Ok(Page { items: self.sessions_by_id(&ids).await?, next })
    }

    /// The key of a session given by its id, by an end of it that no other has (at least 6
    /// characters), as `@latest` or as `@latest:NAME` (of that workflow).
    pub async fn find_session(&self, given: &str) -> Result<SessionKey, ReadError> {
        if let Some(rest) = given.strip_prefix("@latest") {
            return self.latest_session(given, rest).await;
        }
        if let Ok(id) = given.parse::<Uuid>() {
            let known = sqlx::query_scalar!(
                "select id from sessions
                  where tenant_id = $1 and id = $2 and deleted_at is null",
                self.tenant.0,
                id
            )
            .fetch_optional(&self.db)
            .await?;
            return match known {
                Some(id) => Ok(self.key(id)),
                None => Err(self.absent(given, &id.simple().to_string()).await?),
            };
        }
        let tail = tail_of(given).ok_or_else(|| ReadError::NotASession(given.to_owned()))?;
        let found = self.sessions_ending_with(&tail).await?;
        match only(given, &found)? {
            Some(only) => Ok(self.key(only)),
            None => Err(self.absent(given, &tail).await?),
        }
    }

    fn key(&self, id: Uuid) -> SessionKey {
        SessionKey { tenant: self.tenant, id: SessionId(id) }
    }

    async fn latest_session(&self, given: &str, rest: &str) -> Result<SessionKey, ReadError> {
        let workflow = match rest.strip_prefix(':') {
            Some(name) => Some(name),
            None if rest.is_empty() => None,
            None => return Err(ReadError::NotASession(given.to_owned())),
        };
        let id = sqlx::query_scalar!(
            "select s.id
               from sessions s
               join workflow_versions v on v.tenant_id = s.tenant_id and v.id = s.version_id
              where s.tenant_id = $1 and ($2::text is null or v.name = $2)
                and s.deleted_at is null
              order by s.id desc
              limit 1",
            self.tenant.0,
            workflow,
        )
        .fetch_optional(&self.db)
        .await?;
        id.map(|id| self.key(id)).ok_or_else(|| ReadError::NoSession(given.to_owned()))
    }

    /// The key of a session that was deleted, by its whole id or an end of it that no other such
    /// session has. One that was not deleted is found too.
    pub async fn find_deleted(&self, given: &str) -> Result<SessionKey, ReadError> {
        let tail = tail_of(given).ok_or_else(|| ReadError::NotASession(given.to_owned()))?;
        let found = sqlx::query_scalar!(
            "select id
               from sessions
              where tenant_id = $1
                and right(id::text, 6) = right($2, 6)
                and right(replace(id::text, '-', ''), length($2)) = $2
                and deleted_at is not null
              order by id desc
              limit 4",
            self.tenant.0,
            tail,
        )
        .fetch_all(&self.db)
        .await?;
        match only(given, &found)? {
            Some(only) => Ok(self.key(only)),
            None => self.find_session(given).await,
        }
    }

    /// A few sessions whose id, dashes left out, ends like this.
    async fn sessions_ending_with(&self, tail: &str) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar!(
            "select id
               from sessions
              where tenant_id = $1
                and right(id::text, 6) = right($2, 6)
                and right(replace(id::text, '-', ''), length($2)) = $2
                and deleted_at is null
              order by id desc
              limit 4",
            self.tenant.0,
            tail,
        )
        .fetch_all(&self.db)
        .await
    }

    /// The sessions with these ids, newest first; unknown ones are left out.
    async fn sessions_by_id(&self, ids: &[Uuid]) -> Result<Vec<SessionObject>, ReadError> {
        let rows = sqlx::query_file_as!(
            SessionRow,
            "src/store/sql/session_view.sql",
            self.tenant.0,
            ids,
            COUNTED_AT_ONCE_MAX,
            flags::EXECUTABLE,
        )
        .fetch_all(&self.db)
        .await?;
        let mut sessions = Vec::with_capacity(rows.len());
        for row in rows {
            let counters = row.counters();
            let counts = if row.is_counted {
                counters.with(row.live())
            } else {
                self.kept_counts(SessionId(row.id), counters).await?
            };
            sessions.push(row.into_object(counts)?);
        }
        self.explain_failures(&mut sessions).await?;
        Ok(sessions)
    }
}

/// No session created then or later has a smaller id, as far as clocks agree.
fn first_id(since: DateTime<Utc>) -> Uuid {
    const SLACK_MS: i64 = 600_000;
    let ms = u128::try_from(since.timestamp_millis() - SLACK_MS).unwrap_or_default();
    Uuid::from_u128(ms << 80)
}
