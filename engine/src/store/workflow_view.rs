//! Registered workflows and their versions as users see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{Page, ReadError, Views, cut, rows_to_read, to_cursor};

/// A workflow that was applied under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkflowObject {
    pub name: String,
    /// The version that the name stands for.
    pub version: i32,
    #[schema(required)]
    pub description: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Who applied it last.
    #[schema(required)]
    pub applied_by: Option<String>,
}

/// One immutable content of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VersionObject {
    pub name: String,
    pub version: i32,
    /// Whether the workflow's name stands for this version.
    pub applied: bool,
    /// SHA-256 of the definition, in hexadecimal digits.
    pub hash: String,
    pub created_at: DateTime<Utc>,
    /// The YAML as it was written; null in lists.
    #[schema(required)]
    pub definition: Option<String>,
}

impl Views {
    /// Applied workflows by name.
    pub async fn workflows(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<WorkflowObject>, ReadError> {
        let after = cursor.map(name_from_cursor).transpose()?.unwrap_or_default();
        let read = rows_to_read(limit);
        let mut items = sqlx::query_as!(
            WorkflowObject,
            r#"select w.name, v.version, v.plan ->> 'description' as description,
                      w.created_at, w.updated_at, w.changed_by as applied_by
                 from workflows w
                 join workflow_versions v on v.tenant_id = w.tenant_id and v.name = w.name
                                         and v.version = w.applied
                where w.tenant_id = $1 and w.name > $2
                order by w.name
                limit $3"#,
            self.tenant.0,
            after,
            read,
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut items, read);
        let next =
            if more { items.last().map(|item| to_cursor(item.name.as_bytes())) } else { None };
        Ok(Page { items, next })
    }

    /// The version that a workflow's name stands for, or the numbered one.
    pub async fn workflow_version(
        &self,
        name: &str,
        version: Option<i32>,
    ) -> Result<VersionObject, ReadError> {
        let found = sqlx::query_as!(
            VersionObject,
            r#"select v.name, v.version,
                      (v.version is not distinct from w.applied) as "applied!",
                      encode(v.hash, 'hex') as "hash!",
                      v.created_at,
                      v.definition as "definition?"
                 from workflows w
                 join workflow_versions v on v.tenant_id = w.tenant_id and v.name = w.name
                                         and v.version = coalesce($3, w.applied)
                where w.tenant_id = $1 and w.name = $2"#,
            self.tenant.0,
            name,
            version,
        )
        .fetch_optional(&self.db)
        .await?;
        found.ok_or_else(|| match version {
            Some(version) => ReadError::NoVersion { name: name.to_owned(), version },
            None => ReadError::NoWorkflow(name.to_owned()),
        })
    }

    /// The versions of a workflow, newest first.
    pub async fn workflow_versions(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<VersionObject>, ReadError> {
        let before = match cursor.map(name_from_cursor).transpose()? {
            Some(number) => number.parse().map_err(|_| ReadError::BadCursor)?,
            None => i32::MAX,
        };
        let read = rows_to_read(limit);
        let mut items = sqlx::query_as!(
            VersionObject,
            r#"select v.name, v.version,
                      (v.version is not distinct from w.applied) as "applied!",
                      encode(v.hash, 'hex') as "hash!",
                      v.created_at,
                      null as "definition?: String"
                 from workflows w
                 join workflow_versions v on v.tenant_id = w.tenant_id and v.name = w.name
                where w.tenant_id = $1 and w.name = $2 and v.version < $3
                order by v.version desc
                limit $4"#,
            self.tenant.0,
            name,
            before,
            read,
        )
        .fetch_all(&self.db)
        .await?;
        if items.is_empty() && cursor.is_none() {
            return Err(ReadError::NoWorkflow(name.to_owned()));
        }
        let more = cut(&mut items, read);
        let last = items.last().map(|item| to_cursor(item.version.to_string().as_bytes()));
        Ok(Page { items, next: if more { last } else { None } })
    }
}

fn name_from_cursor(cursor: &str) -> Result<String, ReadError> {
    super::view::bytes_of_cursor(cursor)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| ReadError::BadCursor))
}
