//! What the archive of a session holds: everything that users see of it, in the shapes of the API, a
//! line each. It removes nothing.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Archive, ArchiveError, Writing};
use crate::{
    context::ContextName,
    id::SessionKey,
    store::{
        Store,
        artifact_view::Wanted,
        contexts,
        view::{PAGE_MAX, ReadError, Views},
    },
};

/// Chunks of logs that are read at once; each has at most 64 KiB.
const CHUNKS: i64 = 32;

/// Writes the file of a session that has ended and returns the SHA-256 of it. Written again while
/// nothing happens to the session, it is the same file.
pub async fn write(
    store: &Store,
    archive: &Archive,
    key: SessionKey,
) -> Result<Vec<u8>, ArchiveError> {
    let mut file = archive.begin(key).await?;
    let source = Source { store, key, views: Views::new(store, key.tenant) };
    match source.write(&mut file).await {
        Ok(()) => file.finish().await,
        Err(error) => {
            file.give_up().await;
            Err(error)
        }
    }
}

struct Source<'a> {
    store: &'a Store,
    key: SessionKey,
    views: Views,
}

impl Source<'_> {
    async fn write(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let session = self.views.session(self.key).await?;
        file.line("session", &session).await?;
        self.definition(file).await?;
        self.tasks(file).await?;
        self.events(file).await?;
        self.evidence(file).await?;
        self.artifacts(file).await?;
        self.changes(file).await?;
        self.approvals(file).await?;
        self.signals(file).await?;
        self.context(file).await?;
        self.checkpoints(file).await?;
        self.logs(file).await
    }

    async fn definition(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let row = sqlx::query!(
            "select v.name, v.version, v.definition
               from sessions s
               join workflow_versions v on v.tenant_id = s.tenant_id and v.id = s.version_id
              where s.tenant_id = $1 and s.id = $2",
            self.key.tenant.0,
            self.key.id.0
        )
        .fetch_optional(&self.store.pool)
        .await?
        .ok_or_else(|| ReadError::NoSession(self.key.id.to_string()))?;
        let definition =
            json!({ "name": row.name, "version": row.version, "definition": row.definition });
        file.line("workflow", &definition).await
    }

    async fn tasks(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self.views.tasks(self.key, None, cursor.as_deref(), Some(PAGE_MAX)).await?;
            for task in &page.items {
                if !task.status.is_final() {
                    return Err(ArchiveError::Open);
                }
                file.line("task", task).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn events(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut after = 0;
        loop {
            let page = self.views.events(self.key, after, Some(PAGE_MAX)).await?;
            for event in &page.items {
                file.line("event", event).await?;
            }
            match (page.next, page.items.last()) {
                (Some(_), Some(last)) => after = last.seq,
                _ => return Ok(()),
            }
        }
    }

    /// What its tasks and people wrote, as it is in the end.
    async fn context(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        contexts::fold_session(self.store, self.key).await?;
        let name = ContextName::of_session(self.key.id);
        match self.views.context_now(&name).await? {
            Some(context) => file.line("context", &context).await,
            None => Ok(()),
        }
    }

    /// What workers saw of the results of tasks.
    async fn evidence(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut cursor: Option<String> = None;
        loop {
            let page =
                self.views.evidence(self.key, None, cursor.as_deref(), Some(PAGE_MAX)).await?;
            for evidence in &page.items {
                file.line("evidence", evidence).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Which files tasks left, and where their contents are.
    async fn artifacts(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut cursor: Option<String> = None;
        loop {
            let wanted =
                Wanted { cursor: cursor.as_deref(), limit: Some(PAGE_MAX), ..Wanted::default() };
            let page = self.views.artifacts(self.key, wanted).await?;
            for artifact in &page.items {
                file.line("artifact", artifact).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// What tasks changed in repositories, and where the patches are.
    async fn changes(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let diff = self.views.diff(self.key, None).await?;
        for change in &diff.changes {
            file.line("change", change).await?;
        }
        Ok(())
    }

    /// What people were asked, and how they voted.
    async fn approvals(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut after = (0, uuid::Uuid::nil());
        loop {
            let approvals = sqlx::query!(
                r#"select a.seq, a.id,
                          to_jsonb(a) - 'tenant_id'
                          || jsonb_build_object('votes', (
                               select coalesce(jsonb_agg(to_jsonb(v) - 'tenant_id' - 'approval_id'
                                                         order by v.at, v.voter), '[]')
                                 from approval_votes v
                                where v.tenant_id = a.tenant_id and v.approval_id = a.id))
                          as "approval!"
                     from approvals a
                    where a.tenant_id = $1 and a.session_id = $2 and a.seq >= $3
                      and (a.seq, a.id) > ($3, $4)
                    order by a.seq, a.id
                    limit $5"#,
                self.key.tenant.0,
                self.key.id.0,
                after.0,
                after.1,
                PAGE_MAX
            )
            .fetch_all(&self.store.pool)
            .await?;
            let Some(last) = approvals.last() else { return Ok(()) };
            after = (last.seq, last.id);
            for row in approvals {
                file.line("approval", &row.approval).await?;
            }
        }
    }

    /// What people sent.
    async fn signals(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut after = -1;
        loop {
            let signals = sqlx::query!(
                r#"select s.number,
                          to_jsonb(s) - 'tenant_id' - 'session_id' - 'request' as "signal!"
                     from signals s
                    where s.tenant_id = $1 and s.session_id = $2 and s.number > $3
                    order by s.number
                    limit $4"#,
                self.key.tenant.0,
                self.key.id.0,
                after,
                PAGE_MAX
            )
            .fetch_all(&self.store.pool)
            .await?;
            let Some(last) = signals.last() else { return Ok(()) };
            after = last.number;
            for row in signals {
                file.line("signal", &row.signal).await?;
            }
        }
    }

    /// Where agents could have been taken up again.
    async fn checkpoints(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let checkpoints = sqlx::query_scalar!(
            r#"select to_jsonb(c) - 'tenant_id' - 'session_id' as "checkpoint!"
                 from checkpoints c
                where c.tenant_id = $1 and c.session_id = $2
                order by c.number
                limit 1000000"#,
            self.key.tenant.0,
            self.key.id.0
        )
        .fetch_all(&self.store.pool)
        .await?;
        for checkpoint in checkpoints {
            file.line("checkpoint", &checkpoint).await?;
        }
        Ok(())
    }

    /// What attempts printed, in the order of the tasks.
    async fn logs(&self, file: &mut Writing) -> Result<(), ArchiveError> {
        let mut after = (0, 0, uuid::Uuid::nil(), -1);
        loop {
            let chunks = sqlx::query!(
                "select seq, attempt, worker, chunk, stream, at, body
                   from log_chunks
                  where tenant_id = $1 and session_id = $2
                    and (seq, attempt, worker, chunk) > ($3, $4, $5, $6)
                  order by seq, attempt, worker, chunk
                  limit $7",
                self.key.tenant.0,
                self.key.id.0,
                after.0,
                after.1,
                after.2,
                after.3,
                CHUNKS
            )
            .fetch_all(&self.store.pool)
            .await?;
            let Some(last) = chunks.last() else { return Ok(()) };
            after = (last.seq, last.attempt, last.worker, last.chunk);
            for chunk in chunks {
                let stream = ["stdout", "stderr", "jobshop", "transcript"];
                let stream = usize::try_from(chunk.stream).ok().and_then(|at| stream.get(at));
                let mut line = json!({
                    "seq": chunk.seq,
                    "attempt": chunk.attempt,
                    "worker": chunk.worker,
                    "chunk": chunk.chunk,
                    "stream": stream,
                    "at": chunk.at,
                });
                // A chunk may end within a letter.
                match String::from_utf8(chunk.body) {
                    Ok(text) => line["text"] = Value::String(text),
                    Err(error) => {
                        line["base64"] = Value::String(BASE64_STANDARD.encode(error.as_bytes()));
                    }
                }
                file.line("log", &line).await?;
            }
        }
    }
}
