//! What the tests ask of tickets and limits.

use jobshop_engine::id::SessionKey;
use jobshop_tests::Stage;

/// Who holds the limit and who waits for it, in order, as (session, row).
pub(crate) struct Line {
    pub(crate) holds: Vec<(SessionKey, i32)>,
    pub(crate) waits: Vec<(SessionKey, i32)>,
}

pub(crate) async fn line(stage: &Stage, name: &str) -> Line {
    let rows: Vec<(uuid::Uuid, uuid::Uuid, i32, bool)> = sqlx::query_as(
        "select tenant_id, session_id, seq, held from tickets where name = $1
          order by rank, number",
    )
    .bind(name)
    .fetch_all(stage.db.pool())
    .await
    .unwrap();
    let of = |is_held: bool| {
        let some = rows.iter().filter(|row| row.3 == is_held);
        some.map(|(tenant, session, seq, _)| {
            use jobshop_engine::id::{SessionId, TenantId};
            (SessionKey { tenant: TenantId(*tenant), id: SessionId(*session) }, *seq)
        })
        .collect()
    };
    Line { holds: of(true), waits: of(false) }
}

/// How many tickets there are at all.
pub(crate) async fn tickets(stage: &Stage) -> i64 {
    sqlx::query_scalar("select count(*) from tickets").fetch_one(stage.db.pool()).await.unwrap()
}
