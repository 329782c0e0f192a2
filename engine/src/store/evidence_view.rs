//! Evidence as users see it: what each verification came to, and what that is worth now.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor};
use crate::{
    evidence::{Checked, Signed, Standing, Statement},
    id::SessionKey,
};

/// What a worker saw of a task's result.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EvidenceObject {
    /// The key of the task.
    pub task: String,
    pub attempt: i32,
    /// From 1 in its attempt: an agent may get more turns.
    pub round: i32,
    pub at: DateTime<Utc>,
    /// The commit that was checked out; null where the task works in no repository.
    #[schema(required)]
    pub commit: Option<String>,
    pub passed: bool,
    /// What it is worth now.
    pub status: Standing,
    pub commands: Vec<Checked>,
    /// Files of the commit that the commands changed.
    pub changed: Vec<String>,
    /// SHA-256 of the environment.
    pub environment: String,
    pub worker: Uuid,
    /// The name of the worker, while it is known.
    #[schema(required)]
    pub agent: Option<String>,
    /// The text that was signed.
    pub statement: String,
    /// Ed25519, base64.
    pub signature: String,
    pub public_key: String,
}

struct Row {
    seq: i32,
    attempt: i32,
    worker: Uuid,
    round: i32,
    at: DateTime<Utc>,
    commit_id: Option<String>,
    statement: String,
    signature: Vec<u8>,
    public_key: Vec<u8>,
    agent: Option<String>,
    /// Of the worker's registration, while that is known.
    known_key: Option<Vec<u8>>,
    is_superseded: bool,
}

impl Views {
    /// The evidence of a session, or of the task with this key, in the order of tasks and attempts.
    pub async fn evidence(
        &self,
        session: SessionKey,
        task: Option<&str>,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<EvidenceObject>, ReadError> {
        let only = match task {
            Some(key) => Some(self.find_task(session, key).await?),
            None => None,
        };
        let after = cursor.map(from_cursor::<12>).transpose()?.unwrap_or_default();
        let read = rows_to_read(limit);
        let mut rows = self.evidence_rows(session, only, after, read).await?;
        let more = cut(&mut rows, read);
        let next = rows.last().filter(|_| more).map(|row| to_cursor(&row.place()));
        let plan = &self.version_of(session).await?.plan;
        let paths = self.paths(session, plan, rows.iter().map(|row| row.seq), []).await?;
        let items = rows.into_iter().map(|row| {
            let task = paths.path(plan, row.seq).unwrap_or_default();
            row.into_object(session, task)
        });
        Ok(Page { items: items.collect(), next })
    }

    async fn evidence_rows(
        &self,
        session: SessionKey,
        seq: Option<i32>,
        after: [u8; 12],
        limit: i64,
    ) -> sqlx::Result<Vec<Row>> {
        let number = |at: usize| {
            i32::from_be_bytes([after[at], after[at + 1], after[at + 2], after[at + 3]])
        };
        sqlx::query_as!(
            Row,
            r#"select e.seq, e.attempt, e.worker, e.round, e.at, e.commit_id, e.statement,
                      e.signature, e.public_key, w.name as "agent?", w.public_key as "known_key?",
                      (t.attempt > e.attempt
                       or coalesce(coalesce(t.output, b.body) ->> 'commit' <> e.commit_id, false)
                       or exists (select from evidence n
                                   where n.tenant_id = e.tenant_id and n.session_id = e.session_id
                                     and n.seq = e.seq
                                     and (n.attempt, n.round, n.at) > (e.attempt, e.round, e.at)))
                      as "is_superseded!"
                 from evidence e
                 join tasks t on t.tenant_id = e.tenant_id and t.session_id = e.session_id
                             and t.seq = e.seq
                 left join blobs b on b.tenant_id = t.tenant_id and b.hash = t.output_blob
                 left join workers w on w.id = e.worker
                where e.tenant_id = $1 and e.session_id = $2
                  and ($3::int is null or e.seq = $3)
                  and (e.seq, e.attempt, e.round) > ($4, $5, $6)
                order by e.seq, e.attempt, e.round
                limit $7"#,
            session.tenant.0,
            session.id.0,
            seq as _,
            number(0),
            number(4),
            number(8),
            limit,
        )
        .fetch_all(&self.db)
        .await
    }
}

impl Row {
    fn place(&self) -> Vec<u8> {
        [self.seq, self.attempt, self.round].map(i32::to_be_bytes).concat()
    }

    fn into_object(self, session: SessionKey, task: String) -> EvidenceObject {
        let (signature, public_key) = (&self.signature, &self.public_key);
        let texts = [signature, public_key].map(|bytes| BASE64_STANDARD.encode(bytes));
        let [signature, public_key] = texts;
        let signed = Signed {
            statement: self.statement.clone(),
            signature: self.signature.clone(),
            public_key: self.public_key.clone(),
        };
        let read = signed.read().filter(|it| self.is_about(session, it));
        let status = match &read {
            None => Standing::Forged,
            Some(it) if !it.passed => Standing::Failed,
            Some(_) if self.is_superseded => Standing::Superseded,
            Some(_) => Standing::Valid,
        };
        let (passed, commands, changed, environment) = match read {
            Some(it) => (it.passed, it.commands, it.changed, it.environment),
            None => (false, Vec::new(), Vec::new(), String::new()),
        };
        EvidenceObject {
            task,
            attempt: self.attempt,
            round: self.round,
            at: self.at,
            commit: self.commit_id,
            passed,
            status,
            commands,
            changed,
            environment,
            worker: self.worker,
            agent: self.agent,
            statement: self.statement,
            signature,
            public_key,
        }
    }

    /// Whether the statement is the one of this row, signed with the key of its worker.
    fn is_about(&self, session: SessionKey, it: &Statement) -> bool {
        let is_key = self.known_key.as_ref().is_none_or(|known| *known == self.public_key);
        let place = (it.session_id, it.seq, it.attempt, it.worker.0, it.round);
        let own = (session.id, self.seq, self.attempt, self.worker, self.round);
        is_key && place == own && it.commit == self.commit_id
    }
}
