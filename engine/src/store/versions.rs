//! Workflow versions: each distinct content of a definition is kept once, under a number, with its
//! plan and the plan's rows. A version never changes, so whoever read it may keep it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    flags,
    kept::{self, Kept},
};
use crate::{
    id::{TenantId, VersionId},
    plan::{BlockIndex, NodeIndex, Plan},
};

/// A stored workflow version.
#[derive(Debug)]
pub struct Version {
    pub id: VersionId,
    pub tenant: TenantId,
    pub number: i32,
    pub plan: Plan,
    /// About what it takes in memory.
    pub(super) bytes: usize,
    /// Whether any template looks at when its session started.
    pub(super) reads_start: bool,
    /// The tasks that write into the context, as rows name them.
    pub(super) writers: Vec<i32>,
}

impl Version {
    fn new(id: VersionId, tenant: TenantId, number: i32, plan: Plan) -> Self {
        let text = serde_json::to_string(&plan).expect("a plan serialises");
        let reads_start = text.contains("started_at");
        let nodes = plan.nodes.iter().zip(0..);
        let writers = nodes.filter(|(node, _)| !node.context.is_empty()).map(|(_, code)| code);
        let writers = writers.collect();
        let bytes = kept::parsed_bytes(text.len());
        Self { id, tenant, number, plan, bytes, reads_start, writers }
    }
}

/// The versions this process has met; cheap to clone.
#[derive(Debug, Clone)]
pub struct Versions {
    by_id: Arc<Mutex<Kept<VersionId, Version>>>,
    by_content: Arc<Mutex<Kept<Content, Version>>>,
}

/// The tenant and the SHA-256 of the definition.
type Content = (TenantId, Vec<u8>);

/// What the versions of one of the maps take in memory at most.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Default for Versions {
    fn default() -> Self {
        Self {
            by_id: Arc::new(Mutex::new(Kept::new(KEPT_BYTES_MAX))),
            by_content: Arc::new(Mutex::new(Kept::new(KEPT_BYTES_MAX))),
        }
    }
}

impl Versions {
    /// The version of that id, from memory or from the database; `None` when there is none.
    pub async fn load(
        &self,
        db: &PgPool,
        tenant: TenantId,
        id: VersionId,
    ) -> sqlx::Result<Option<Arc<Version>>> {
        if let Some(version) = lock(&self.by_id).find(&id) {
            return Ok(Some(version));
        }
        let row = sqlx::query_file!("src/store/sql/version.sql", tenant.0, id.0)
            .fetch_optional(db)
            .await?;
        Ok(row.map(|row| {
            let version = Arc::new(Version::new(id, tenant, row.version, row.plan.0));
            lock(&self.by_id).keep(id, &version, version.bytes);
            version
        }))
    }

    /// The version with this content, if this process has stored it before.
    pub fn known(&self, tenant: TenantId, definition: &str) -> Option<Arc<Version>> {
        let hash = Sha256::digest(definition.as_bytes()).to_vec();
        lock(&self.by_content).find(&(tenant, hash))
    }

    /// The version with this content, stored now if it is new.
    pub async fn intern(
        &self,
        db: &PgPool,
        tenant: TenantId,
        definition: &str,
        plan: &Plan,
    ) -> sqlx::Result<Arc<Version>> {
        let hash = Sha256::digest(definition.as_bytes()).to_vec();
        let content = (tenant, hash);
        if let Some(version) = lock(&self.by_content).find(&content) {
            return Ok(version);
        }
        let mut tx = db.begin().await?;
        let (id, number) = store(&mut tx, tenant, definition, &content.1, plan).await?;
        tx.commit().await?;
        let version = Arc::new(Version::new(id, tenant, number, plan.clone()));
        lock(&self.by_id).keep(id, &version, version.bytes);
        lock(&self.by_content).keep(content, &version, version.bytes);
        Ok(version)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds or inserts the version. The workflow's row is locked, so that two processes never give the
/// same number twice.
async fn store(
    tx: &mut PgConnection,
    tenant: TenantId,
    definition: &str,
    hash: &[u8],
    plan: &Plan,
) -> sqlx::Result<(VersionId, i32)> {
    let latest = sqlx::query_scalar!(
        "insert into workflows (tenant_id, name, latest) values ($1, $2, 0)
             on conflict (tenant_id, name) do update set updated_at = workflows.updated_at
         returning latest",
        tenant.0,
        plan.name
    )
    .fetch_one(&mut *tx)
    .await?;
    let known = sqlx::query!(
        "select id, version from workflow_versions
          where tenant_id = $1 and name = $2 and hash = $3",
        tenant.0,
        plan.name,
        hash
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(known) = known {
        return Ok((VersionId(known.id), known.version));
    }
    let (id, number) = (VersionId(Uuid::now_v7()), latest + 1);
    sqlx::query!(
        "insert into workflow_versions (tenant_id, id, name, version, hash, definition, plan,
                                        retention_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        tenant.0,
        id.0,
        plan.name,
        number,
        hash,
        definition,
        sqlx::types::Json(plan) as _,
        plan.retention.map(|span| span.ms.cast_signed()),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update workflows set latest = $3, updated_at = clock() where tenant_id = $1 and name = $2",
        tenant.0,
        plan.name,
        number
    )
    .execute(&mut *tx)
    .await?;
    insert_rows(tx, tenant, id, plan).await?;
    insert_start_limits(tx, tenant, id, plan).await?;
    Ok((id, number))
}

/// How long tasks may wait to start, where the plan says it.
async fn insert_start_limits(
    tx: &mut PgConnection,
    tenant: TenantId,
    version: VersionId,
    plan: &Plan,
) -> sqlx::Result<()> {
    let limits = plan.nodes.iter().zip(0..).filter_map(|(node, index)| {
        Some((NodeIndex(index).code(), node.start_timeout?.ms.cast_signed()))
    });
    let (nodes, limits): (Vec<i32>, Vec<i64>) = limits.unzip();
    if nodes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into start_limits (tenant_id, version_id, node, ms)
         select $1, $2, l.node, l.ms from unnest($3::int[], $4::bigint[]) as l (node, ms)",
        tenant.0,
        version.0,
        &nodes,
        &limits
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// The plan's rows, block by block.
async fn insert_rows(
    tx: &mut PgConnection,
    tenant: TenantId,
    version: VersionId,
    plan: &Plan,
) -> sqlx::Result<()> {
    let mut routes = HashMap::new();
    for node in &plan.nodes {
        if !routes.contains_key(&node.requires) {
            let route = intern_route(tx, tenant, &node.requires).await?;
            routes.insert(node.requires.clone(), route);
        }
    }
    let mut rows = Rows::default();
    for (block, nodes) in plan.blocks.iter().enumerate() {
        let block = BlockIndex(u32::try_from(block).expect("a plan has few blocks"));
        for node in &nodes.nodes {
            rows.push(plan, block, *node, routes[&plan.node(*node).requires]);
        }
    }
    sqlx::query!(
        "insert into plan_tasks (tenant_id, version_id, block, position, node, parent, route,
                                 priority, flags, blockers, dependents)
         select $1, $2, r.block, r.position, r.node, nullif(r.parent, -1), r.route,
                nullif(r.priority, -1), r.flags, r.blockers, r.dependents::int[]
           from unnest($3::int[], $4::int[], $5::int[], $6::int[], $7::int[], $8::smallint[],
                       $9::smallint[], $10::int[], $11::text[])
                as r (block, position, node, parent, route, priority, flags, blockers, dependents)",
        tenant.0,
        version.0,
        &rows.blocks,
        &rows.positions,
        &rows.nodes,
        &rows.parents,
        &rows.routes,
        &rows.priorities,
        &rows.flags,
        &rows.blockers,
        &rows.dependents as _,
    )
    .execute(&mut *tx)
    .await
    .map(|_| ())
}

/// The rows as columns.
#[derive(Default)]
struct Rows {
    blocks: Vec<i32>,
    positions: Vec<i32>,
    nodes: Vec<i32>,
    parents: Vec<i32>,
    routes: Vec<i32>,
    priorities: Vec<i16>,
    flags: Vec<i16>,
    blockers: Vec<i32>,
    dependents: Vec<Option<String>>,
}

impl Rows {
    /// In the root block dependents are stored as numbers of rows, because they are copied as they
    /// are; in the others as positions, because each item moves them.
    fn push(&mut self, plan: &Plan, block: BlockIndex, index: NodeIndex, route: i32) {
        let node = plan.node(index);
        let base = if block == BlockIndex::ROOT { crate::plan::ROOT_BASE } else { 0 };
        let parent = match node.parent {
            Some(parent) if plan.node(parent).block == block => plan.node(parent).position,
            // The item's own row.
            Some(_) => 0,
            None => -1,
        };
        let dependents: Vec<String> = node
            .dependents
            .iter()
            .map(|dependent| (plan.node(*dependent).position + base).to_string())
            .collect();
        self.blocks.push(block.0.cast_signed());
        self.positions.push(node.position);
        self.nodes.push(index.code());
        self.parents.push(parent);
        self.routes.push(route);
        self.priorities.push(node.priority.map_or(-1, crate::priority::Priority::code));
        self.flags.push(flags::of_node(plan, index));
        self.blockers.push(node.blockers(plan));
        self.dependents
            .push((!dependents.is_empty()).then(|| format!("{{{}}}", dependents.join(","))));
    }
}

/// The number of the route with exactly these capabilities.
async fn intern_route(
    tx: &mut PgConnection,
    tenant: TenantId,
    capabilities: &[String],
) -> sqlx::Result<i32> {
    let known = sqlx::query_scalar!(
        "select id from routes where tenant_id = $1 and capabilities = $2",
        tenant.0,
        capabilities
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    sqlx::query_scalar!(
        "insert into routes (tenant_id, capabilities) values ($1, $2)
             on conflict on constraint routes_capabilities
             do update set capabilities = excluded.capabilities
         returning id",
        tenant.0,
        capabilities
    )
    .fetch_one(&mut *tx)
    .await
}
