//! What tasks wrote into the context of their session. A write is made of the end of its task by
//! whoever reads the context next, in the order of the events: a finish neither waits for it nor
//! fails of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{By, Held, Origin, Record};
use crate::{
    context::{self, ContextName, Scope, Write},
    event::EventKind,
    expression::values::Values,
    id::{SessionId, SessionKey, TenantId},
    outcome::Failure,
    plan::NodeIndex,
    store::{
        SessionInfo, Store,
        values::{self, Request},
    },
};

/// Ends that are made into writes at once.
const BATCH: i64 = 200;
/// What a context knows of its session's events is noted without any write once it is so far behind.
const UNNOTED_MAX: i32 = 1_000;

/// A task that completed and has something to write.
struct End {
    number: i32,
    at: DateTime<Utc>,
    origin: Origin,
    node: NodeIndex,
    outputs: Value,
    values: Result<Values, Failure>,
}

/// Makes the writes of all tasks that have completed.
pub(in crate::store) async fn fold(store: &Store, info: &Arc<SessionInfo>) -> sqlx::Result<()> {
    if info.version.writers.is_empty() {
        return Ok(());
    }
    loop {
        let Some((known, last)) = behind(store, info.key).await? else { return Ok(()) };
        let ends = ends(store, info, known).await?;
        let is_all = ends.len() < usize::try_from(BATCH).unwrap_or_default();
        if ends.is_empty() && last - known < UNNOTED_MAX {
            return Ok(());
        }
        let upto = match ends.last() {
            Some(end) if !is_all => end.number,
            _ => ends.last().map_or(last, |end| end.number.max(last)),
        };
        let is_made = write(store, info, ends, (known, upto)).await?;
        if is_made && is_all {
            return Ok(());
        }
    }
}

/// Folds by the session's key, where that is all that is known of it.
pub async fn fold_session(store: &Store, key: SessionKey) -> sqlx::Result<()> {
    match store.infos.load(store, &[key]).await?.get(&key) {
        Some(info) => fold(store, info).await,
        None => Ok(()),
    }
}

/// What is in the context of a session, for the templates that read it.
pub(in crate::store) async fn data(
    store: &Store,
    key: SessionKey,
) -> sqlx::Result<Map<String, Value>> {
    let data = sqlx::query_scalar!(
        r#"select data as "data: Json<Map<String, Value>>" from contexts
            where tenant_id = $1 and scope = $2 and name = $3"#,
        key.tenant.0,
        Scope::Session.code(),
        key.id.to_string()
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(data.map(|data| data.0).unwrap_or_default())
}

/// The last event that the context knows and the last one there is, unless they are the same.
async fn behind(store: &Store, key: SessionKey) -> sqlx::Result<Option<(i32, i32)>> {
    let row = sqlx::query!(
        r#"select p.next_event - 1 as "last!", coalesce(c.folded_to, 0) as "known!"
             from session_progress p
             left join contexts c
               on c.tenant_id = p.tenant_id and c.scope = $3 and c.name = p.session_id::text
            where p.tenant_id = $1 and p.session_id = $2"#,
        key.tenant.0,
        key.id.0,
        Scope::Session.code()
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row.map(|row| (row.known, row.last)).filter(|(known, last)| known < last))
}

async fn ends(store: &Store, info: &Arc<SessionInfo>, known: i32) -> sqlx::Result<Vec<End>> {
    let key = info.key;
    let rows = sqlx::query_file_as!(
        Row,
        "src/store/sql/context_ends.sql",
        key.tenant.0,
        key.id.0,
        known,
        EventKind::TaskCompleted.code(),
        &info.version.writers,
        BATCH
    )
    .fetch_all(&store.pool)
    .await?;
    let request =
        |row: &Row| Request::of_context(Arc::clone(info), NodeIndex::from_code(row.node), row.seq);
    let requests: Vec<Request> = rows.iter().map(request).collect();
    let loaded = values::load(store, &requests).await?;
    let end = |(row, values): (Row, _)| {
        let outputs = row.output.as_deref().and_then(|text| serde_json::from_str(text).ok());
        End {
            number: row.number,
            at: row.at,
            origin: Origin { seq: row.seq, attempt: row.attempt },
            node: NodeIndex::from_code(row.node),
            outputs: outputs.unwrap_or_default(),
            values,
        }
    };
    Ok(rows.into_iter().zip(loaded).map(end).collect())
}

struct Row {
    number: i32,
    seq: i32,
    node: i32,
    attempt: i32,
    at: DateTime<Utc>,
    output: Option<String>,
}

/// Makes the writes of some ends, unless somebody else has; each sees what those before it wrote.
async fn write(
    store: &Store,
    info: &SessionInfo,
    ends: Vec<End>,
    (known, upto): (i32, i32),
) -> sqlx::Result<bool> {
    let name = ContextName::of_session(info.key.id);
    let mut tx = store.pool.begin().await?;
    let mut held = Held::lock(&mut tx, info.key.tenant, &name).await?;
    let folded_to = sqlx::query_scalar!(
        "select folded_to from contexts where tenant_id = $1 and scope = $2 and name = $3",
        info.key.tenant.0,
        name.scope.code(),
        name.name()
    )
    .fetch_one(&mut *tx)
    .await?;
    if folded_to != known {
        return Ok(false);
    }
    for end in ends {
        let path = {
            let items = end.values.iter().flat_map(|values| &values.item);
            let keys: Vec<&str> = items.map(|(_, key, _)| key.as_str()).collect();
            info.version.plan.path(end.node, &keys)
        };
        let (at, origin) = (Some(end.at), Some(end.origin));
        let made =
            writes(info, &held.data, end).map_err(|failure| failure.message).and_then(|writes| {
                context::apply(&mut held.data, &writes).map_err(|refused| refused.to_string())
            });
        let (changes, error) = match made {
            Ok(changes) => (changes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let by = By { actor: &format!("task {path}"), why: None };
        let record = Record { by, ttl: None, at, origin, error };
        held.keep(&mut tx, &changes, record).await?;
    }
    sqlx::query!(
        "update contexts set folded_to = $4 where tenant_id = $1 and scope = $2 and name = $3",
        info.key.tenant.0,
        name.scope.code(),
        name.name(),
        upto
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// What the end of a task writes into what is there.
fn writes(info: &SessionInfo, data: &Map<String, Value>, end: End) -> Result<Vec<Write>, Failure> {
    let plan = &info.version.plan;
    let spec = &plan.node(end.node).context;
    let mut values = end.values?;
    values.outputs = Some(end.outputs);
    values.context = spec.references.context.then(|| Value::Object(data.clone()));
    spec.render(&values.scope(plan, Some(end.node)))
}

/// Gives a fork what is in the context of its origin.
pub(in crate::store) async fn bring_along(
    tx: &mut PgConnection,
    (origin, forked): (SessionKey, SessionKey),
    actor: Option<&str>,
) -> sqlx::Result<()> {
    let source = ContextName::of_session(origin.id);
    let data = sqlx::query_scalar!(
        r#"select data as "data: Json<Map<String, Value>>" from contexts
            where tenant_id = $1 and scope = $2 and name = $3 and version > 0"#,
        origin.tenant.0,
        source.scope.code(),
        source.name()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(data) = data else { return Ok(()) };
    let name = ContextName::of_session(forked.id);
    let mut held = Held::lock(&mut *tx, forked.tenant, &name).await?;
    let changes = context::between(&held.data, &data.0);
    held.data = data.0;
    let (actor, why) = (actor.unwrap_or("jobshop"), format!("forked from {}", origin.id));
    held.keep(tx, &changes, Record::of(By { actor, why: Some(&why) }, None)).await
}

/// Removes the context of a session that was archived.
pub(in crate::store) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    let name = ContextName::of_session(SessionId(session));
    let gone = super::forget(&mut tx, TenantId(tenant), &name).await?;
    tx.commit().await?;
    Ok(u64::from(gone))
}
