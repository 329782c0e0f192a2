//! What stands in a group that never begins: it is skipped with the group, however often it was tried
//! before a retry of the session, and paused or not.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id::TaskKey,
    store::{session_locks, transition::Move},
};

/// Readies rows for being skipped, `inside` being the positions of their moves, each with its group:
/// what of them is paused is pending again, and the moves get the numbers of the attempts. The
/// sessions of all the moves are locked from here on.
pub(super) async fn let_go(
    conn: &mut PgConnection,
    moves: &mut [Move],
    inside: &[(usize, TaskKey)],
) -> sqlx::Result<()> {
    if inside.is_empty() {
        return Ok(());
    }
    session_locks::lock_of(conn, moves.iter().map(|it| it.task)).await?;
    let tenants: Vec<Uuid> = inside.iter().map(|(_, group)| group.session.tenant.0).collect();
    let sessions: Vec<Uuid> = inside.iter().map(|(_, group)| group.session.id.0).collect();
    let groups: Vec<i32> = inside.iter().map(|(_, group)| group.seq).collect();
    let seqs: Vec<i32> = inside.iter().map(|(at, _)| moves[*at].task.seq).collect();
    let rows = sqlx::query!(
        r#"with input as materialized (
               select * from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) with ordinality
                          as i (tenant_id, session_id, "group", seq, place)
           ), freed as (
               update tasks t
                  set state = 0, reason = null, was = null, was_reason = null
                 from input i
                 join tasks g on g.tenant_id = i.tenant_id and g.session_id = i.session_id
                             and g.seq = i."group" and g.state = 0 and g.undecided
                where t.tenant_id = i.tenant_id and t.session_id = i.session_id and t.seq = i.seq
                  and t.state = 5
           )
           select i.place as "place!", t.attempt
             from input i
             join tasks t on t.tenant_id = i.tenant_id and t.session_id = i.session_id
                         and t.seq = i.seq"#,
        &tenants,
        &sessions,
        &groups,
        &seqs
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let place = usize::try_from(row.place - 1).ok().and_then(|at| inside.get(at));
        if let Some(skip) = place.and_then(|(at, _)| moves.get_mut(*at)) {
            skip.attempt = row.attempt;
        }
    }
    Ok(())
}
