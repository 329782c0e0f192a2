//! What is shown of contexts: as they are, as they were, how they became so, how two differ.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{ContextError, HISTORY_MAX};
use crate::{
    context::{self, Change, ContextName, Path, Scope},
    id::TenantId,
    store::view::{
        Page, ReadError, Views, bytes_of_cursor, cut, from_cursor, rows_to_read, to_cursor,
        unknown_code,
    },
};

/// A context.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ContextObject {
    pub scope: Scope,
    pub name: String,
    /// How often it was changed.
    pub version: i64,
    /// Null in lists.
    #[schema(value_type = Option<Object>)]
    #[schema(required)]
    pub data: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[schema(required)]
    pub updated_by: Option<String>,
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// One change of a context.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChangeObject {
    /// What the context came to by it.
    pub version: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    #[schema(required)]
    pub why: Option<String>,
    pub changes: Vec<Change>,
    /// Why nothing was changed.
    #[schema(required)]
    pub error: Option<String>,
}

/// What one context has to become another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    /// `session:ID@3` and the like.
    pub from: String,
    pub to: String,
    pub changes: Vec<Change>,
}

struct Row {
    scope: i16,
    name: String,
    version: i64,
    data: Option<Json<Value>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    updated_by: Option<String>,
    expires_at: Option<DateTime<Utc>>,
}

impl Row {
    fn into_object(self) -> sqlx::Result<ContextObject> {
        let scope = Scope::from_code(self.scope)
            .ok_or_else(|| unknown_code("scope of a context", self.scope))?;
        Ok(ContextObject {
            scope,
            name: self.name,
            version: self.version,
            data: self.data.map(|data| data.0),
            created_at: self.created_at,
            updated_at: self.updated_at,
            updated_by: self.updated_by,
            expires_at: self.expires_at,
        })
    }
}

impl Views {
    /// One context; its data as of an earlier version, or only what is at a place, as asked.
    pub async fn context(
        &self,
        name: &ContextName,
        version: Option<i64>,
        path: &Path,
    ) -> Result<ContextObject, ContextError> {
        let missing = || ContextError::NotFound(name.to_string());
        let mut object = self.context_now(name).await?.ok_or_else(missing)?;
        if let Some(version) = version {
            let mut db = self.db.acquire().await?;
            object.data = Some(Value::Object(at(&mut db, self.tenant, name, version).await?));
            object.version = version;
        }
        for key in path.keys() {
            let inner = object.data.as_mut().and_then(|data| data.get_mut(key)).map(Value::take);
            let gone = || ContextError::NotFound(format!("{name}` with something at `{path}"));
            object.data = Some(inner.ok_or_else(gone)?);
        }
        Ok(object)
    }

    /// One context as it is, if there is any.
    pub async fn context_now(&self, name: &ContextName) -> sqlx::Result<Option<ContextObject>> {
        let row = sqlx::query_as!(
            Row,
            r#"select scope, name, version, data as "data: Json<Value>", created_at, updated_at,
                      updated_by, expires_at
                 from contexts
                where tenant_id = $1 and scope = $2 and name = $3 and version > 0
                  and (expires_at is null or expires_at > clock())"#,
            self.tenant.0,
            name.scope.code(),
            name.name()
        )
        .fetch_optional(&self.db)
        .await?;
        row.map(Row::into_object).transpose()
    }

    /// Contexts by scope and name, without what is in them.
    pub async fn contexts(
        &self,
        scope: Option<Scope>,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<ContextObject>, ContextError> {
        let place = |cursor: &str| -> Result<(i16, String), ReadError> {
            let bytes = bytes_of_cursor(cursor)?;
            let text = String::from_utf8(bytes).map_err(|_| ReadError::BadCursor)?;
            let (scope, name) = text.split_once(':').ok_or(ReadError::BadCursor)?;
            Ok((scope.parse().map_err(|_| ReadError::BadCursor)?, name.to_owned()))
        };
        let (after_scope, after) = cursor.map(place).transpose()?.unwrap_or((-1, String::new()));
        let read = rows_to_read(limit);
        let mut rows = sqlx::query_as!(
            Row,
            r#"select scope, name, version, null::jsonb as "data: Json<Value>", created_at,
                      updated_at, updated_by, expires_at
                 from contexts
                where tenant_id = $1 and (scope, name) > ($2, $3)
                  and ($4::smallint is null or scope = $4) and version > 0
                  and (expires_at is null or expires_at > clock())
                order by scope, name
                limit $5"#,
            self.tenant.0,
            after_scope,
            after,
            scope.map(Scope::code),
            read
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut rows, read);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| to_cursor(format!("{}:{}", row.scope, row.name).as_bytes()));
        let items: sqlx::Result<Vec<_>> = rows.into_iter().map(Row::into_object).collect();
        Ok(Page { items: items?, next })
    }

    /// How a context became what it is, the newest change first.
    pub async fn context_history(
        &self,
        name: &ContextName,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<ChangeObject>, ContextError> {
        let before = match cursor {
            Some(cursor) => i64::from_be_bytes(from_cursor(cursor)?),
            None => i64::MAX,
        };
        let read = rows_to_read(limit);
        let mut rows = sqlx::query!(
            r#"select version, at, actor, why, changes as "changes: Json<Vec<Change>>", error
                 from context_changes
                where tenant_id = $1 and scope = $2 and name = $3 and version < $4
                order by version desc
                limit $5"#,
            self.tenant.0,
            name.scope.code(),
            name.name(),
            before,
            read
        )
        .fetch_all(&self.db)
        .await?;
        if rows.is_empty() && cursor.is_none() {
            return Err(ContextError::NotFound(name.to_string()));
        }
        let more = cut(&mut rows, read);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| to_cursor(&row.version.to_be_bytes()));
        let items = rows.into_iter().map(|row| ChangeObject {
            version: row.version,
            at: row.at,
            actor: row.actor,
            why: row.why,
            changes: row.changes.0,
            error: row.error,
        });
        Ok(Page { items: items.collect(), next })
    }

    /// What the first has to become the second; each as it is, or as of a version.
    pub async fn context_difference(
        &self,
        from: (&ContextName, Option<i64>),
        to: (&ContextName, Option<i64>),
    ) -> Result<Difference, ContextError> {
        let whole = Path::default();
        let from_object = self.context(from.0, from.1, &whole).await?;
        let to_object = self.context(to.0, to.1, &whole).await?;
        let shown = |(name, _): (&ContextName, _), version| format!("{name}@{version}");
        let tree = |data: Option<Value>| data.and_then(|data| data.as_object().cloned());
        let (old, new) = (tree(from_object.data), tree(to_object.data));
        Ok(Difference {
            from: shown(from, from_object.version),
            to: shown(to, to_object.version),
            changes: context::between(&old.unwrap_or_default(), &new.unwrap_or_default()),
        })
    }
}

/// What a context was at a version, in one look at it and its changes since.
pub(super) async fn at(
    db: &mut PgConnection,
    tenant: TenantId,
    name: &ContextName,
    version: i64,
) -> Result<Map<String, Value>, ContextError> {
    let rows = sqlx::query!(
        r#"select c.data as "data: Json<Map<String, Value>>", c.version as now,
                  h.changes as "changes?: Json<Vec<Change>>"
             from contexts c
             left join context_changes h
               on h.tenant_id = c.tenant_id and h.scope = c.scope and h.name = c.name
              and h.version > $4
            where c.tenant_id = $1 and c.scope = $2 and c.name = $3
            order by h.version desc"#,
        tenant.0,
        name.scope.code(),
        name.name(),
        version
    )
    .fetch_all(db)
    .await?;
    let Some(newest) = rows.first().map(|row| row.now) else {
        return Err(ContextError::NotFound(name.to_string()));
    };
    let oldest = (newest - HISTORY_MAX).max(0);
    if !(oldest..=newest).contains(&version) {
        return Err(ContextError::NoVersion { name: name.clone(), version, oldest, newest });
    }
    let mut rows = rows.into_iter().peekable();
    let mut data = rows.peek().map(|row| row.data.0.clone()).unwrap_or_default();
    for row in rows {
        context::undo(&mut data, &row.changes.map(|changes| changes.0).unwrap_or_default());
    }
    Ok(data)
}
