//! Claims: a worker takes ready tasks of its routes. What a claim takes is covered by a receipt
//! until the worker says that all of it has left.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    plan::NodeIndex,
};

/// A task that a worker holds, with what it must know to decide about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub fence: Fence,
    pub node: NodeIndex,
    pub failures: i32,
    pub crashes: i32,
}

/// What one claim took.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Names what was taken; none when nothing was.
    pub receipt: Option<Uuid>,
    pub tasks: Vec<Held>,
}

/// A claim whose candidates all slipped away (others changed them after its snapshot) is repeated
/// at most so often.
const REPEATS_MAX: usize = 3;

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub worker: WorkerId,
    /// In the order in which they are served.
    pub routes: &'a [i32],
    /// How much is taken of each route at most; without any of each as much as of all together.
    pub shares: &'a [i32],
    pub limit: i32,
    /// The one session that is served, where it is only one.
    pub session: Option<SessionId>,
}

/// Takes ready tasks in the order of their rank within each route. Nothing is taken by a worker
/// whose lease has run out.
pub async fn claim(db: &PgPool, ask: Ask<'_>) -> sqlx::Result<Claimed> {
    claim_over(&mut *db.acquire().await?, ask).await
}

/// The same over a connection that is in no transaction.
pub async fn claim_over(conn: &mut PgConnection, ask: Ask<'_>) -> sqlx::Result<Claimed> {
    for _ in 0..REPEATS_MAX {
        let (claimed, candidates) = claim_once(&mut *conn, ask).await?;
        if candidates == 0 || !claimed.tasks.is_empty() {
            return Ok(claimed);
        }
    }
    Ok(Claimed::default())
}

/// One claim, and how many candidates it saw.
pub(super) async fn claim_once(
    db: impl sqlx::PgExecutor<'_>,
    ask: Ask<'_>,
) -> sqlx::Result<(Claimed, i32)> {
    let Ask { worker, routes, shares, limit, session } = ask;
    let session = session.map(|session| session.0);
    let row =
        sqlx::query_file!("src/store/sql/claim.sql", routes, limit, worker.0, session as _, shares)
            .fetch_one(db)
            .await?;
    let tasks = (0..row.seqs.len())
        .map(|n| Held {
            fence: Fence {
                task: TaskKey {
                    session: SessionKey {
                        tenant: TenantId(row.tenants[n]),
                        id: SessionId(row.sessions[n]),
                    },
                    seq: row.seqs[n],
                },
                attempt: row.attempts[n],
                worker,
            },
            node: NodeIndex::from_code(row.nodes[n]),
            failures: row.failures[n],
            crashes: row.crashes[n],
        })
        .collect();
    Ok((Claimed { receipt: row.receipt, tasks }, row.candidates))
}

/// Forgets receipts of a worker: everything they name has left it.
pub async fn forget(db: &PgPool, worker: WorkerId, receipts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query_file!("src/store/sql/forget.sql", worker.0, receipts).execute(db).await.map(|_| ())
}
