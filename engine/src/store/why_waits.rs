//! Whether a session goes on only once people have said something: for those who leave it alone until
//! then.

use uuid::Uuid;

use super::view::Views;
use crate::{
    id::{SessionId, SessionKey},
    task::Reason,
};

/// Sessions below one another that are looked at; of more it is said that they move.
const SESSIONS_MAX: usize = 1_000;

/// What there is to wait for in one session.
struct Waiting {
    /// Some row waits for people.
    asks: bool,
    /// Something can move by itself.
    moves: bool,
    /// The sessions that tasks of it are.
    children: Vec<Uuid>,
}

impl Views {
    /// Whether some row of the session, or of the sessions that it waits for, waits for people, and
    /// nothing else of them can move by itself.
    pub(super) async fn waits_for_people(&self, session: SessionKey) -> sqlx::Result<bool> {
        let mut asks = false;
        let mut left = vec![session.id];
        for _ in 0..SESSIONS_MAX {
            let Some(id) = left.pop() else { return Ok(asks) };
            let found = self.waiting(SessionKey { id, ..session }).await?;
            if found.moves {
                return Ok(false);
            }
            asks |= found.asks;
            left.extend(found.children.into_iter().map(SessionId));
        }
        Ok(false)
    }

    async fn waiting(&self, session: SessionKey) -> sqlx::Result<Waiting> {
        sqlx::query_as!(
            Waiting,
            r#"select coalesce(bool_or(q.asks or (t.state = 4 and t.reason = any($3))), false)
                      as "asks!",
                      -- An agent that asked runs, and does nothing until it is answered.
                      coalesce(bool_or(t.state in (1, 2) or (t.state = 3 and not q.asks)
                                       or t.undecided
                                       or (t.state = 4 and t.reason <> 0
                                           and t.reason <> all($3)
                                           and t.reason <> $4
                                           and c.child_id is null)), false)
                      -- What holds a lock in another session may move by itself.
                      or exists (select from tickets w
                                   join tickets h on h.tenant_id = w.tenant_id
                                                 and h.kind = w.kind and h.name = w.name
                                                 and h.held
                                  where w.tenant_id = $1 and w.session_id = $2
                                    and not w.held and h.session_id <> w.session_id)
                      or not exists (select from session_progress p
                                      where p.tenant_id = $1 and p.session_id = $2
                                        and p.state in (1, 2, 4) and p.sweep = 0)
                      or exists (select from expansions e
                                  where e.tenant_id = $1 and e.session_id = $2
                                    and e.unfinished and e.max_parallel is null)
                      as "moves!",
                      coalesce(array_agg(c.child_id) filter (where c.child_id is not null), '{}')
                      as "children!"
                 from tasks t
                cross join lateral (
                      select t.state = 3
                             and exists (select from questions a
                                          where a.tenant_id = $1 and a.session_id = $2
                                            and a.seq = t.seq and a.attempt = t.attempt
                                            and a.worker = t.worker and a.status = 0)
                             as asks) q
                 left join lateral (
                      select c.child_id
                        from child_sessions c
                       where t.state = 4 and t.reason = $5
                         and c.tenant_id = $1 and c.parent_id = $2 and c.parent_seq = t.seq
                         and c.attempt = t.attempt and not c.over) c on true
                where t.tenant_id = $1 and t.session_id = $2 and t.state < 6"#,
            session.tenant.0,
            session.id.0,
            &[Reason::Approval.code(), Reason::Signal.code(), Reason::Question.code()],
            Reason::Lock.code(),
            Reason::Child.code(),
        )
        .fetch_one(&self.db)
        .await
    }
}
