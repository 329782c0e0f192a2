//! Limits of which somebody has to look again who is next, because a grant met a row that was held; and
//! tickets whose rows have gone, of which there should be none.

use serde_json::json;

use crate::{
    session::SessionState,
    store::{
        Hint, Store, places, sessions,
        tickets::{self, Granted, LimitKey},
    },
};

/// Looks again at limits that were left, and returns how many rows were let go.
pub(super) async fn tend(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query_as!(
        LimitKey,
        "select tenant_id as tenant, kind, name from limits
          where due
          order by tenant_id, kind, name
          limit 100"
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(look(store, &due).await? + oust(store).await?)
}

/// Cancels those whose places are wanted by sessions that do not wait.
async fn oust(store: &Store) -> sqlx::Result<usize> {
    let mut ousted = 0;
    for key in places::ousted(store).await? {
        let body = json!({ "reason": "a later session took its place" });
        let to = SessionState::Cancelled;
        if sessions::end_one_at_once(store, key, to, None, Some(body)).await? {
            store.hints.send(Hint::Ended(key.id));
            store.hints.send(Hint::Undecided);
            store.hints.send(Hint::Event(key.id));
            ousted += 1;
        }
    }
    Ok(ousted)
}

/// Looks at limits whose tickets may have been left behind.
pub(super) async fn find_strays(store: &Store) -> sqlx::Result<usize> {
    let found = sqlx::query_file_as!(LimitKey, "src/store/sql/patrol_tickets.sql")
        .fetch_all(&store.pool)
        .await?;
    if !found.is_empty() {
        tracing::warn!(limits = found.len(), "tickets were left behind");
    }
    let done = look(store, &found).await?;
    forget_unused(store).await?;
    Ok(done)
}

async fn look(store: &Store, limits: &[LimitKey]) -> sqlx::Result<usize> {
    let mut done = 0;
    for limit in limits {
        let granted = tickets::look_again(store, std::slice::from_ref(limit)).await?;
        done += tell(store, &granted);
    }
    Ok(done)
}

/// Sends the hints that follow from grants; returns how many rows were let go.
fn tell(store: &Store, granted: &Granted) -> usize {
    if granted.ready > 0 || !granted.admitted.is_empty() {
        store.hints.send(Hint::Ready);
    }
    if granted.is_to_decide() {
        store.hints.send(Hint::Undecided);
    }
    usize::try_from(granted.ready).unwrap_or_default() + granted.admitted.len()
}

/// Limits that nobody holds or waits for, and that nobody named for a while.
async fn forget_unused(store: &Store) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from limits l
          using (select l.tenant_id, l.kind, l.name
                   from limits l
                  where l.held = 0 and not l.due
                    and not exists (select from tickets t
                                     where t.tenant_id = l.tenant_id and t.kind = l.kind
                                       and t.name = l.name)
                  order by l.tenant_id, l.kind, l.name
                  limit 1000
                    for update of l skip locked) gone
          where l.tenant_id = gone.tenant_id and l.kind = gone.kind and l.name = gone.name"
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}
