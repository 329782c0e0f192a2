//! Fan-outs: a `for_each` group is laid down in chunks, each its own transaction, under a cursor
//! that any process continues.

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    id::{SessionId, SessionKey, TaskKey, TenantId, VersionId},
    outcome::{ErrorClass, Failure},
    plan::{BlockIndex, Group, NodeIndex, Plan},
    store::{Hint, Store, blobs, budgets, flags},
};

/// Rows that one chunk lays down at most.
const CHUNK_ROWS: i32 = 5_000;
/// Rows that a session holds at most.
const SESSION_ROWS_MAX: i64 = 1_000_000;

/// What a group is to lay down: items, or the first round.
pub(super) struct FanOut {
    block: BlockIndex,
    /// Keys and values.
    list: Vec<Value>,
    /// Rows are reserved for so many.
    most: i32,
    max_parallel: Option<u32>,
    is_loop: bool,
}

impl FanOut {
    /// `None` when the group is another.
    pub(super) fn of_items(group: &Group, items: &[(String, Value)]) -> Option<Self> {
        let each = group.for_each.as_ref()?;
        Some(Self {
            block: each.block,
            list: items.iter().map(|(key, value)| json!([key, value])).collect(),
            most: i32::try_from(items.len()).expect("a fan-out is limited"),
            max_parallel: each.max_parallel,
            is_loop: false,
        })
    }

    /// `None` when the group is another.
    pub(super) fn of_rounds(group: &Group) -> Option<Self> {
        let rounds = group.rounds.as_ref()?;
        Some(Self {
            block: rounds.block,
            list: vec![json!(["1", 1])],
            most: i32::try_from(rounds.max_rounds).expect("rounds are limited"),
            max_parallel: None,
            is_loop: true,
        })
    }
}

/// Reserves the rows of a group's items or rounds and keeps what is to be laid down. Saying it again
/// before anything was laid down is harmless. The refusal is the group's failure.
pub(super) async fn reserve(
    store: &Store,
    task: TaskKey,
    version: VersionId,
    plan: &Plan,
    fan_out: FanOut,
) -> sqlx::Result<Result<i32, Failure>> {
    let block_rows = plan.block(fan_out.block).rows();
    let count = i32::try_from(fan_out.list.len()).expect("a fan-out is limited");
    let most = fan_out.most;
    let mut tx = store.pool.begin().await?;
    // Of a session that has ended meanwhile, nothing is swept any more: the move that follows is
    // refused, and nothing may be left behind.
    let next = sqlx::query_scalar!(
        "select next_seq from session_progress
          where tenant_id = $1 and session_id = $2 and state < 5 for no key update",
        task.session.tenant.0,
        task.session.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(next) = next else { return Ok(Ok(count)) };
    if is_reserved(&mut tx, task, count).await? {
        return Ok(Ok(count));
    }
    let last = i64::from(next) + i64::from(most) * i64::from(block_rows);
    if last - 1 > SESSION_ROWS_MAX {
        let what = if fan_out.is_loop { "rounds" } else { "items" };
        return Ok(Err(Failure::new(
            ErrorClass::TooLarge,
            format!("with {most} {what} the session would hold more than {SESSION_ROWS_MAX} tasks"),
        )));
    }
    let done = sqlx::query!(
        "insert into expansions (tenant_id, session_id, seq, version_id, block, block_rows, base,
                                 items, max_parallel, list, rounds)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (tenant_id, session_id, seq)
             do update set base = excluded.base, items = excluded.items, list = excluded.list,
                           unfinished = true
                     where expansions.laid = 0",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        version.0,
        fan_out.block.0.cast_signed(),
        block_rows,
        next,
        count,
        fan_out.max_parallel.map(u32::cast_signed),
        blobs::without_nul(Value::Array(fan_out.list)),
        fan_out.is_loop,
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        sqlx::query!(
            "update session_progress set next_seq = $3 where tenant_id = $1 and session_id = $2",
            task.session.tenant.0,
            task.session.id.0,
            i32::try_from(last).expect("checked against the limit")
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Ok(count))
}

/// Whether the rows are reserved already: another process decides the same group at the same time,
/// or died having done so.
async fn is_reserved(conn: &mut PgConnection, task: TaskKey, items: i32) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from expansions
                           where tenant_id = $1 and session_id = $2 and seq = $3 and items = $4
                             and unfinished) as "is_reserved!""#,
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        items
    )
    .fetch_one(conn)
    .await
}

/// Lays down the next chunk of every group that has room for more; returns how many chunks.
pub(super) async fn expand(store: &Store) -> sqlx::Result<usize> {
    let groups = sqlx::query_file!("src/store/sql/unfinished.sql").fetch_all(&store.pool).await?;
    let mut chunks = 0;
    for group in &groups {
        let key = SessionKey { tenant: TenantId(group.tenant_id), id: SessionId(group.session_id) };
        let Some(version) =
            store.versions.load(&store.pool, key.tenant, VersionId(group.version_id)).await?
        else {
            continue;
        };
        let node = NodeIndex::from_code(group.node);
        let running = group.laid - group.ended;
        let room = group.max_parallel.map_or(i32::MAX, |most| most - running);
        let items = (CHUNK_ROWS / group.block_rows).max(1).min(room).min(group.items - group.laid);
        let funded_from = group.funded.then_some(group.base + group.laid * group.block_rows);
        let chunk = Chunk { seq: group.seq, laid: group.laid, items, funded_from };
        chunks += lay(store, key, &chunk, &version.plan, node).await?;
    }
    Ok(chunks)
}

/// So many more items of the group at `seq`, of which `laid` are there.
struct Chunk {
    seq: i32,
    laid: i32,
    items: i32,
    /// Its first row, where the session draws from budgets above it.
    funded_from: Option<i32>,
}

/// What a chunk came to.
struct Laid {
    laid: i32,
    ready: i32,
}

async fn lay(
    store: &Store,
    key: SessionKey,
    chunk: &Chunk,
    plan: &Plan,
    node: NodeIndex,
) -> sqlx::Result<usize> {
    let row = if let Some(from) = chunk.funded_from {
        let mut tx = store.pool.begin().await?;
        let row = rows(&mut tx, key, chunk, plan, node).await?;
        budgets::fund_rows(&mut tx, key, plan, from).await?;
        tx.commit().await?;
        row
    } else {
        rows(&mut *store.pool.acquire().await?, key, chunk, plan, node).await?
    };
    if row.ready > 0 {
        store.hints.send(Hint::Ready);
    }
    if row.laid > 0 {
        store.hints.send(Hint::Event(key.id));
    }
    Ok(usize::from(row.laid > 0))
}

async fn rows(
    conn: &mut PgConnection,
    key: SessionKey,
    chunk: &Chunk,
    plan: &Plan,
    node: NodeIndex,
) -> sqlx::Result<Laid> {
    let children = plan.group(node).map_or(0, |group| group.children.len());
    let row = sqlx::query_file!(
        "src/store/sql/expand.sql",
        key.tenant.0,
        key.id.0,
        chunk.seq,
        chunk.laid,
        chunk.items,
        node.code(),
        flags::of_item(plan, node),
        i32::try_from(children).expect("a plan has at most 10 000 nodes"),
    )
    .fetch_one(conn)
    .await?;
    Ok(Laid { laid: row.laid, ready: row.ready })
}
