//! Approvals as users see them: the inbox, and one by its id or the end of it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{
    Page, ReadError, Views, cut, from_cursor, only, rows_to_read, tail_of, to_cursor, unknown_code,
};
use crate::{
    approval::{Decision, Question, Status},
    id::{SessionId, SessionKey},
    task::Reason,
};

/// What a task asks of people.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ApprovalObject {
    pub id: Uuid,
    #[schema(value_type = Uuid)]
    pub session_id: SessionId,
    /// The key of the task.
    pub task: String,
    pub message: String,
    /// Names of keys and roles that may decide; empty: every key that may submit.
    pub from: Vec<String>,
    /// So many have to approve; one rejection decides.
    pub quorum: i32,
    pub status: Status,
    pub created_at: DateTime<Utc>,
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Nobody decided in time: from then on any admin may, alone.
    #[schema(required)]
    pub escalated_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
    /// What each voter said last, in order.
    pub votes: Vec<VoteObject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VoteObject {
    /// The name of a key.
    pub by: String,
    pub decision: Decision,
    #[schema(required)]
    pub comment: Option<String>,
    pub at: DateTime<Utc>,
}

/// What a list of approvals is narrowed to.
#[derive(Debug, Clone, Copy)]
pub struct ApprovalFilter {
    pub status: Status,
    pub session: Option<SessionId>,
}

/// What holds a task that waits for an approval.
pub(super) struct OpenApproval {
    pub(super) id: Uuid,
    pub(super) question: Question,
    pub(super) approvals: i64,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

struct ApprovalRow {
    id: Uuid,
    session_id: Uuid,
    seq: i32,
    message: String,
    deciders: Vec<String>,
    quorum: i32,
    status: i16,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    escalated_at: Option<DateTime<Utc>>,
    decided_at: Option<DateTime<Utc>>,
}

impl Views {
    /// Approvals, oldest first.
    pub async fn approvals(
        &self,
        filter: ApprovalFilter,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<ApprovalObject>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map_or(Uuid::nil(), Uuid::from_bytes);
        let read = rows_to_read(limit);
        // Open is what is kept as open and still waited for; what is waited for no more is closed.
        let mut ids = if filter.status == Status::Open {
            sqlx::query_scalar!(
                "select a.id
                   from approvals a
                   join tasks t on t.tenant_id = a.tenant_id and t.session_id = a.session_id
                               and t.seq = a.seq
                   join session_progress p on p.tenant_id = a.tenant_id
                                          and p.session_id = a.session_id
                  where a.tenant_id = $1 and a.id > $2 and a.status = 0
                    and t.state = 4 and t.reason = $3 and p.state < 5
                    and ($4::uuid is null or a.session_id = $4)
                  order by a.id
                  limit $5",
                self.tenant.0,
                after,
                Reason::Approval.code(),
                filter.session.map(|id| id.0) as _,
                read,
            )
            .fetch_all(&self.db)
            .await?
        } else {
            sqlx::query_scalar!(
                "select id
                   from approvals
                  where tenant_id = $1 and id > $2 and status = $3
                    and ($4::uuid is null or session_id = $4)
                  order by id
                  limit $5",
                self.tenant.0,
                after,
                filter.status.code(),
                filter.session.map(|id| id.0) as _,
                read,
            )
            .fetch_all(&self.db)
            .await?
        };
        let more = cut(&mut ids, read);
        let next = if more { ids.last().map(|id| to_cursor(id.as_bytes())) } else { None };
        Ok(Page { items: self.approvals_by_id(&ids).await?, next })
    }

    /// The approval with this id.
    pub async fn approval(&self, id: Uuid) -> Result<ApprovalObject, ReadError> {
        let mut found = self.approvals_by_id(&[id]).await?;
        found.pop().ok_or_else(|| ReadError::NoApproval(id.to_string()))
    }

    /// The id of an approval given by it or by an end of it that no other has (at least 6
    /// characters).
    pub async fn find_approval(&self, given: &str) -> Result<Uuid, ReadError> {
        let missing = || ReadError::NoApproval(given.to_owned());
        let tail = tail_of(given).ok_or_else(missing)?;
        let found = sqlx::query_scalar!(
            "select id
               from approvals
              where tenant_id = $1
                and right(id::text, 6) = right($2, 6)
                and right(replace(id::text, '-', ''), length($2)) = $2
              order by id desc
              limit 4",
            self.tenant.0,
            tail,
        )
        .fetch_all(&self.db)
        .await?;
        only(given, &found)?.ok_or_else(missing)
    }

    /// The open approval that a row waits for.
    pub(super) async fn open_approval(
        &self,
        session: SessionKey,
        seq: i32,
    ) -> Result<Option<OpenApproval>, ReadError> {
        let row = sqlx::query!(
            r#"select a.id, a.deciders, a.quorum, a.barred, a.expires_at,
                      a.escalated_at is not null as "escalated!",
                      (select count(*) from approval_votes v
                        where v.tenant_id = a.tenant_id and v.approval_id = a.id
                          and v.approves) as "approvals!"
                 from approvals a
                where a.tenant_id = $1 and a.session_id = $2 and a.seq = $3 and a.status = 0"#,
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_optional(&self.db)
        .await?;
        Ok(row.map(|row| OpenApproval {
            id: row.id,
            question: Question {
                from: row.deciders,
                quorum: row.quorum,
                barred: row.barred,
                is_escalated: row.escalated,
            },
            approvals: row.approvals,
            expires_at: row.expires_at,
        }))
    }

    /// Oldest first; unknown ones are left out.
    pub(super) async fn approvals_by_id(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<ApprovalObject>, ReadError> {
        let rows = sqlx::query_as!(
            ApprovalRow,
            r#"select a.id, a.session_id, a.seq, a.message, a.deciders, a.quorum,
                      case when a.status = 0
                                and (p.state >= 5 or t.state <> 4 or t.reason is distinct from $3)
                           then 4::smallint else a.status end as "status!",
                      a.created_at, a.expires_at, a.escalated_at, a.decided_at
                 from approvals a
                 join tasks t on t.tenant_id = a.tenant_id and t.session_id = a.session_id
                             and t.seq = a.seq
                 join session_progress p on p.tenant_id = a.tenant_id
                                        and p.session_id = a.session_id
                where a.tenant_id = $1 and a.id = any($2)
                order by a.id"#,
            self.tenant.0,
            ids,
            Reason::Approval.code(),
        )
        .fetch_all(&self.db)
        .await?;
        let mut keys = self.task_keys_of(&rows).await?;
        let mut votes = self.votes_of(ids).await?;
        rows.into_iter()
            .map(|row| {
                let status = Status::from_code(row.status)
                    .ok_or_else(|| unknown_code("status of an approval", row.status))?;
                Ok(ApprovalObject {
                    id: row.id,
                    session_id: SessionId(row.session_id),
                    task: keys.remove(&row.id).unwrap_or_default(),
                    message: row.message,
                    from: row.deciders,
                    quorum: row.quorum,
                    status,
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                    escalated_at: row.escalated_at,
                    decided_at: row.decided_at,
                    votes: votes.remove(&row.id).unwrap_or_default(),
                })
            })
            .collect()
    }

    /// The keys of the tasks, session by session.
    async fn task_keys_of(&self, rows: &[ApprovalRow]) -> Result<HashMap<Uuid, String>, ReadError> {
        let mut by_session: HashMap<Uuid, Vec<&ApprovalRow>> = HashMap::new();
        for row in rows {
            by_session.entry(row.session_id).or_default().push(row);
        }
        let mut keys = HashMap::new();
        for (session, rows) in by_session {
            let key = SessionKey { tenant: self.tenant, id: SessionId(session) };
            let version = self.version_of(key).await?;
            let paths = self.paths(key, &version.plan, rows.iter().map(|row| row.seq), []).await?;
            for row in rows {
                let path = paths.path(&version.plan, row.seq).unwrap_or_default();
                keys.insert(row.id, path);
            }
        }
        Ok(keys)
    }

    async fn votes_of(&self, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Vec<VoteObject>>> {
        let rows = sqlx::query!(
            "select approval_id, voter, approves, comment, at
               from approval_votes
              where tenant_id = $1 and approval_id = any($2)
              order by at, voter",
            self.tenant.0,
            ids,
        )
        .fetch_all(&self.db)
        .await?;
        let mut votes: HashMap<Uuid, Vec<VoteObject>> = HashMap::new();
        for row in rows {
            votes.entry(row.approval_id).or_default().push(VoteObject {
                by: row.voter,
                decision: if row.approves { Decision::Approve } else { Decision::Reject },
                comment: row.comment,
                at: row.at,
            });
        }
        Ok(votes)
    }
}
