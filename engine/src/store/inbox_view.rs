//! The inbox as users see it: what tasks and their agents ask of people, approvals, permissions and
//! questions in one list.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    approval_view::ApprovalObject,
    view::{Page, ReadError, Views, cut, from_cursor, only, rows_to_read, tail_of, to_cursor},
};
use crate::{
    approval::{Decision, Question as Asked},
    id::{SessionId, SessionKey},
    policy::OnTimeout,
    question::{self, Kind, Status, Text},
    task::Reason,
};

/// Who asks what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A task asks whether its session may go on.
    Approval,
    /// An agent asks to be allowed something.
    Permission,
    /// An agent asks to be told something.
    Question,
}

/// Which entries are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    #[default]
    Open,
    Ended,
}

/// What is asked of people.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InboxEntry {
    pub id: Uuid,
    pub kind: EntryKind,
    #[schema(value_type = Uuid)]
    pub session_id: SessionId,
    /// The key of the task.
    pub task: String,
    pub message: String,
    /// Names of keys and roles that may answer; empty: every key that may submit.
    pub from: Vec<String>,
    pub quorum: i32,
    /// `open`, `approved`, `rejected`, `answered`, `expired` or `closed`.
    pub status: String,
    pub created_at: DateTime<Utc>,
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub escalated_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
    /// What each voter said last, in order.
    pub votes: Vec<InboxVote>,
    /// Of a permission: the tool that is to be used.
    #[schema(required)]
    pub tool: Option<String>,
    /// Of a permission: commands, paths or addresses.
    pub what: Vec<String>,
    /// Of a question: what is asked, each with the answers that are offered.
    pub questions: Vec<Text>,
    /// What an agent is told, once that is decided.
    #[schema(required)]
    pub answer: Option<AnswerObject>,
    /// The rule that said that people are asked; null where the workflow did.
    #[schema(required)]
    pub rule: Option<Uuid>,
    /// What happens to an agent's question when nobody answers in time.
    #[schema(required)]
    pub on_timeout: Option<OnTimeout>,
    /// When an agent was told the answer last.
    #[schema(required)]
    pub told_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnswerObject {
    pub allowed: bool,
    /// To each of the questions.
    #[schema(required)]
    pub answers: Option<Vec<String>>,
    #[schema(required)]
    pub comment: Option<String>,
    /// The name of a key, or `timeout`.
    pub by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboxVote {
    /// The name of a key.
    pub by: String,
    /// `approve` or `reject`; `allow`, `deny` or `answer`.
    pub decision: &'static str,
    #[schema(required)]
    pub comment: Option<String>,
    pub at: DateTime<Utc>,
}

impl From<ApprovalObject> for InboxEntry {
    fn from(approval: ApprovalObject) -> Self {
        let votes = approval.votes.into_iter().map(|vote| InboxVote {
            by: vote.by,
            decision: match vote.decision {
                Decision::Approve => "approve",
                Decision::Reject => "reject",
            },
            comment: vote.comment,
            at: vote.at,
        });
        Self {
            id: approval.id,
            kind: EntryKind::Approval,
            session_id: approval.session_id,
            task: approval.task,
            message: approval.message,
            from: approval.from,
            quorum: approval.quorum,
            status: approval.status.as_str().to_owned(),
            created_at: approval.created_at,
            expires_at: approval.expires_at,
            escalated_at: approval.escalated_at,
            decided_at: approval.decided_at,
            votes: votes.collect(),
            tool: None,
            what: Vec::new(),
            questions: Vec::new(),
            answer: None,
            rule: None,
            on_timeout: None,
            told_at: None,
        }
    }
}

/// What holds a task whose agent asked.
pub(super) struct OpenQuestion {
    pub(super) id: Uuid,
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) asked: Asked,
    pub(super) expires_at: DateTime<Utc>,
}

struct QuestionRow {
    id: Uuid,
    session_id: Uuid,
    seq: i32,
    kind: i16,
    tool: String,
    what: Vec<String>,
    texts: Json<Vec<Text>>,
    rule_id: Option<Uuid>,
    deciders: Vec<String>,
    quorum: i32,
    on_timeout: i16,
    status: i16,
    allowed: Option<bool>,
    answers: Option<Vec<String>>,
    comment: Option<String>,
    answered_by: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    escalated_at: Option<DateTime<Utc>>,
    decided_at: Option<DateTime<Utc>>,
    told_at: Option<DateTime<Utc>>,
}

impl QuestionRow {
    fn into_entry(self, task: String, votes: Vec<InboxVote>) -> InboxEntry {
        let is_permission = self.kind == Kind::Permission.code();
        let (kind, entry_kind) = if is_permission {
            (Kind::Permission, EntryKind::Permission)
        } else {
            (Kind::Question, EntryKind::Question)
        };
        let message = question::message(kind, &self.tool, &self.what, &self.texts);
        let answer = self.allowed.map(|allowed| AnswerObject {
            allowed,
            answers: self.answers,
            comment: self.comment,
            by: self.answered_by.unwrap_or_default(),
        });
        InboxEntry {
            id: self.id,
            kind: entry_kind,
            session_id: SessionId(self.session_id),
            task,
            message,
            from: self.deciders,
            quorum: self.quorum,
            status: Status::from_code(self.status).unwrap_or(Status::Closed).as_str().to_owned(),
            created_at: self.created_at,
            expires_at: Some(self.expires_at),
            escalated_at: self.escalated_at,
            decided_at: self.decided_at,
            votes,
            tool: is_permission.then_some(self.tool),
            what: self.what,
            questions: self.texts.0,
            answer,
            rule: self.rule_id,
            on_timeout: OnTimeout::from_code(self.on_timeout),
            told_at: self.told_at,
        }
    }
}

impl Views {
    /// What is asked of people, oldest first.
    pub async fn inbox(
        &self,
        listed: Listed,
        session: Option<SessionId>,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<InboxEntry>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map_or(Uuid::nil(), Uuid::from_bytes);
        let read = rows_to_read(limit);
        let session = session.map(|id| id.0);
        let mut ids = match listed {
            Listed::Open => self.open_entries(session, after, read).await?,
            Listed::Ended => self.ended_entries(session, after, read).await?,
        };
        let more = cut(&mut ids, read);
        let next = if more { ids.last().map(|id| to_cursor(id.as_bytes())) } else { None };
        Ok(Page { items: self.entries_by_id(&ids).await?, next })
    }

    /// The entry with this id.
    pub async fn inbox_entry(&self, id: Uuid) -> Result<InboxEntry, ReadError> {
        let mut found = self.entries_by_id(&[id]).await?;
        found.pop().ok_or_else(|| ReadError::NoQuestion(id.to_string()))
    }

    /// What is asked and nobody has answered; what is waited for no more is closed.
    async fn open_entries(
        &self,
        session: Option<Uuid>,
        after: Uuid,
        read: i64,
    ) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar!(
            r#"select e.id as "id!"
                 from (select a.id
                         from approvals a
                         join tasks t on t.tenant_id = a.tenant_id
                                     and t.session_id = a.session_id and t.seq = a.seq
                         join session_progress p on p.tenant_id = a.tenant_id
                                                and p.session_id = a.session_id
                        where a.tenant_id = $1 and a.id > $2 and a.status = 0
                          and t.state = 4 and t.reason = $3 and p.state < 5
                          and ($4::uuid is null or a.session_id = $4)
                       union all
                       select q.id
                         from questions q
                         join tasks t on t.tenant_id = q.tenant_id
                                     and t.session_id = q.session_id and t.seq = q.seq
                         join session_progress p on p.tenant_id = q.tenant_id
                                                and p.session_id = q.session_id
                        where q.tenant_id = $1 and q.id > $2 and q.status = 0
                          and t.state < 6 and p.state < 5
                          and ($4::uuid is null or q.session_id = $4)) e
                order by e.id
                limit $5"#,
            self.tenant.0,
            after,
            Reason::Approval.code(),
            session as _,
            read,
        )
        .fetch_all(&self.db)
        .await
    }

    async fn ended_entries(
        &self,
        session: Option<Uuid>,
        after: Uuid,
        read: i64,
    ) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar!(
            r#"select e.id as "id!"
                 from (select a.id from approvals a
                        where a.tenant_id = $1 and a.id > $2 and a.status > 0
                          and ($3::uuid is null or a.session_id = $3)
                       union all
                       select q.id from questions q
                        where q.tenant_id = $1 and q.id > $2 and q.status > 0
                          and ($3::uuid is null or q.session_id = $3)) e
                order by e.id
                limit $4"#,
            self.tenant.0,
            after,
            session as _,
            read,
        )
        .fetch_all(&self.db)
        .await
    }

    /// The id of an entry given by it or by an end of it that no other has (at least 6 characters).
    pub async fn find_entry(&self, given: &str) -> Result<Uuid, ReadError> {
        let missing = || ReadError::NoQuestion(given.to_owned());
        let tail = tail_of(given).ok_or_else(missing)?;
        let found = sqlx::query_scalar!(
            r#"select e.id as "id!"
                 from (select id from approvals
                        where tenant_id = $1 and right(id::text, 6) = right($2, 6)
                       union all
                       select id from questions
                        where tenant_id = $1 and right(id::text, 6) = right($2, 6)) e
                where right(replace(e.id::text, '-', ''), length($2)) = $2
                order by e.id desc
                limit 4"#,
            self.tenant.0,
            tail,
        )
        .fetch_all(&self.db)
        .await?;
        only(given, &found)?.ok_or_else(missing)
    }

    /// Oldest first; unknown ones are left out.
    async fn entries_by_id(&self, ids: &[Uuid]) -> Result<Vec<InboxEntry>, ReadError> {
        let approvals = self.approvals_by_id(ids).await?;
        let mut entries: Vec<InboxEntry> = approvals.into_iter().map(InboxEntry::from).collect();
        let rows = sqlx::query_as!(
            QuestionRow,
            r#"select q.id, q.session_id, q.seq, q.kind, q.tool, q.what,
                      q.texts as "texts: Json<Vec<Text>>", q.rule_id, q.deciders, q.quorum,
                      q.on_timeout,
                      case when q.status = 0
                                and (p.state >= 5 or coalesce(t.state, 8) >= 6)
                           then 3::smallint else q.status end as "status!",
                      q.allowed, q.answers, q.comment, q.answered_by, q.created_at,
                      q.expires_at, q.escalated_at, q.decided_at, q.told_at
                 from questions q
                 join session_progress p on p.tenant_id = q.tenant_id
                                        and p.session_id = q.session_id
                 left join tasks t on t.tenant_id = q.tenant_id and t.session_id = q.session_id
                                  and t.seq = q.seq
                where q.tenant_id = $1 and q.id = any($2)"#,
            self.tenant.0,
            ids,
        )
        .fetch_all(&self.db)
        .await?;
        let mut keys = self.keys_of(&rows).await?;
        let mut votes = self.question_votes(ids).await?;
        entries.extend(rows.into_iter().map(|row| {
            let task = keys.remove(&row.id).unwrap_or_default();
            let votes = votes.remove(&row.id).unwrap_or_default();
            row.into_entry(task, votes)
        }));
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// The keys of the tasks, session by session.
    async fn keys_of(&self, rows: &[QuestionRow]) -> Result<HashMap<Uuid, String>, ReadError> {
        let mut by_session: HashMap<Uuid, Vec<&QuestionRow>> = HashMap::new();
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

    async fn question_votes(&self, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Vec<InboxVote>>> {
        let rows = sqlx::query!(
            "select question_id, voter, allows, answers, comment, at
               from question_votes
              where tenant_id = $1 and question_id = any($2)
              order by at, voter",
            self.tenant.0,
            ids,
        )
        .fetch_all(&self.db)
        .await?;
        let mut votes: HashMap<Uuid, Vec<InboxVote>> = HashMap::new();
        for row in rows {
            let decision = match (row.allows, row.answers) {
                (false, _) => "deny",
                (true, None) => "allow",
                (true, Some(_)) => "answer",
            };
            let vote = InboxVote { by: row.voter, decision, comment: row.comment, at: row.at };
            votes.entry(row.question_id).or_default().push(vote);
        }
        Ok(votes)
    }

    /// What the agent of a row asks and nobody has answered.
    pub(super) async fn open_questions(
        &self,
        session: SessionKey,
        seq: i32,
    ) -> Result<Vec<OpenQuestion>, ReadError> {
        let rows = sqlx::query!(
            r#"select id, kind, tool, what, texts as "texts: Json<Vec<Text>>", deciders, quorum,
                      escalated_at is not null as "escalated!", expires_at
                 from questions
                where tenant_id = $1 and session_id = $2 and seq = $3 and status = 0
                order by id
                limit 20"#,
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_all(&self.db)
        .await?;
        let open = rows.into_iter().map(|row| {
            let kind = Kind::from_code(row.kind).unwrap_or(Kind::Permission);
            OpenQuestion {
                id: row.id,
                kind,
                message: question::message(kind, &row.tool, &row.what, &row.texts),
                asked: Asked {
                    from: row.deciders,
                    quorum: row.quorum,
                    barred: None,
                    is_escalated: row.escalated,
                },
                expires_at: row.expires_at,
            }
        });
        Ok(open.collect())
    }
}
