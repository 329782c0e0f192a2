//! What attempts and decisions must know of a session and what never changes in it. A process that
//! read it may keep it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Store, Version,
    kept::{self, Kept},
};
use crate::id::{SessionKey, VersionId};

/// The unchanging part of a session.
#[derive(Debug)]
pub struct SessionInfo {
    pub key: SessionKey,
    pub version: Arc<Version>,
    pub title: String,
    pub inputs: Map<String, Value>,
    pub file_dir: Option<String>,
    /// A session above it has budgets that its tasks draw from.
    pub funded: bool,
}

/// Sessions this process has met; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SessionInfos {
    kept: Arc<Mutex<KeptInfos>>,
}

/// What the sessions and the versions that they hold take in memory at most.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
struct KeptInfos {
    infos: Kept<SessionKey, SessionInfo>,
    /// The versions that some of them hold, each counted once.
    versions: HashSet<VersionId>,
}

impl Default for KeptInfos {
    fn default() -> Self {
        Self { infos: Kept::new(KEPT_BYTES_MAX), versions: HashSet::new() }
    }
}

impl KeptInfos {
    fn keep(&mut self, info: &Arc<SessionInfo>) {
        let inputs = serde_json::to_string(&info.inputs).map_or(0, |text| text.len());
        let mut bytes = kept::parsed_bytes(inputs) + info.title.len();
        if self.versions.insert(info.version.id) {
            bytes += info.version.bytes;
        }
        if !self.infos.keep(info.key, info, bytes) {
            self.versions.clear();
            self.versions.insert(info.version.id);
        }
    }
}

impl SessionInfos {
    /// Keeps what its creator knows of a session, so that nobody has to read it.
    pub(super) fn keep(&self, info: SessionInfo) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(&Arc::new(info));
    }

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
                match kept.infos.find(key) {
                    Some(info) => {
                        found.insert(*key, info);
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
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(&info);
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
            funded: row.funded,
        });
    }
    Ok(infos)
}
