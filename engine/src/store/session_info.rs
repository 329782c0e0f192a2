//! What attempts and decisions must know of a session and what never changes in it. A process that
//! read it may keep it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Store, Version};
use crate::id::{SessionKey, VersionId};

/// The unchanging part of a session.
#[derive(Debug)]
pub struct SessionInfo {
    pub key: SessionKey,
    pub version: Arc<Version>,
    pub title: String,
    pub inputs: Map<String, Value>,
    pub file_dir: Option<String>,
}

/// Sessions this process has met; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SessionInfos {
    kept: Arc<Mutex<HashMap<SessionKey, Arc<SessionInfo>>>>,
}

/// Sessions kept in memory; beyond this all are forgotten and read again.
const KEPT_MAX: usize = 4_000;

impl SessionInfos {
    /// The sessions asked for, those that exist, from memory or in one query.
    pub async fn load(
        &self,
        store: &Store,
        keys: &[SessionKey],
    ) -> sqlx::Result<HashMap<SessionKey, Arc<SessionInfo>>> {
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for key in keys {
                match kept.get(key) {
                    Some(info) => {
                        found.insert(*key, Arc::clone(info));
                    }
                    None => missing.push(*key),
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(found);
        }
        for info in read(store, &missing).await? {
            let info = Arc::new(info);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(info.key, Arc::clone(&info));
            found.insert(info.key, info);
        }
        Ok(found)
    }
}

async fn read(store: &Store, keys: &[SessionKey]) -> sqlx::Result<Vec<SessionInfo>> {
    let tenants: Vec<Uuid> = keys.iter().map(|key| key.tenant.0).collect();
    let sessions: Vec<Uuid> = keys.iter().map(|key| key.id.0).collect();
    let rows = sqlx::query_file!("src/store/sql/session_info.sql", &tenants, &sessions)
        .fetch_all(&store.pool)
        .await?;
    let mut infos = Vec::with_capacity(rows.len());
    for row in rows {
        let slot = usize::try_from(row.slot - 1).expect("slots count from 1");
        let Some(version) =
            store.versions.load(&store.pool, keys[slot].tenant, VersionId(row.version_id)).await?
        else {
            continue;
        };
        let inputs = match row.inputs {
            Value::Object(inputs) => inputs,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        infos.push(SessionInfo {
            key: keys[slot],
            version,
            title: row.title,
            inputs,
            file_dir: row.file_dir,
        });
    }
    Ok(infos)
}
