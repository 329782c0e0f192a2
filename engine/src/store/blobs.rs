//! Payloads over 8 KiB: content-addressed, so that the hot rows stay narrow.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;

use crate::id::TenantId;

const INLINE_BYTES_MAX: usize = 8 * 1024;

/// Where a payload is kept.
#[derive(Debug)]
pub(crate) enum Place {
    Inline(String),
    Outside(Blob),
}

/// A payload under the SHA-256 of its text.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) hash: Vec<u8>,
    body: String,
}

/// Decides by size.
pub(crate) fn place(value: &Value) -> Place {
    let body = to_jsonb_text(value);
    if body.len() <= INLINE_BYTES_MAX {
        Place::Inline(body)
    } else {
        Place::Outside(Blob { hash: Sha256::digest(body.as_bytes()).to_vec(), body })
    }
}

/// JSON text that jsonb takes: it has no NUL character, which becomes U+FFFD.
pub(crate) fn to_jsonb_text(value: &Value) -> String {
    let text = value.to_string();
    if text.contains("\\u0000") { without_nul(value.clone()).to_string() } else { text }
}

/// The value as jsonb takes it: NUL characters become U+FFFD.
pub(crate) fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Stores a payload; storing one twice is harmless.
pub(crate) async fn keep(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    blob: &Blob,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into blobs (tenant_id, hash, body) values ($1, $2, $3::text::jsonb)
             on conflict do nothing",
        tenant.0,
        blob.hash,
        blob.body
    )
    .execute(db)
    .await
    .map(|_| ())
}
