//! Ends sessions whose outputs have to be rendered first.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    expression,
    id::{SessionId, SessionKey, TenantId},
    outcome::Failure,
    session::{self, SessionState},
    store::{
        Hint, SessionInfo, Store, blobs,
        values::{self, Request},
    },
};

/// Ends what is to be closed, and returns how many sessions that were.
pub(super) async fn close(store: &Store) -> sqlx::Result<usize> {
    let open = sqlx::query_file!("src/store/sql/closing.sql").fetch_all(&store.pool).await?;
    let keys: Vec<SessionKey> = open
        .iter()
        .map(|row| SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) })
        .collect();
    let infos = store.infos.load(store, &keys).await?;
    for (key, row) in keys.iter().zip(&open) {
        let Some(info) = infos.get(key) else { continue };
        let result = session::result(row.bad, row.allowed);
        match outputs(store, info).await? {
            Ok(outputs) => end(store, *key, result, Some(Value::Object(outputs)), None).await?,
            // Outputs of a failed session may lack what they are made of.
            Err(_) if result == SessionState::Failed => {
                end(store, *key, result, None, None).await?;
            }
            Err(failure) => end(store, *key, SessionState::Failed, None, Some(failure)).await?,
        }
    }
    Ok(open.len())
}

/// The session's outputs, rendered.
async fn outputs(
    store: &Store,
    info: &Arc<SessionInfo>,
) -> sqlx::Result<Result<Map<String, Value>, Failure>> {
    let plan = &info.version.plan;
    let request = Request::of_session(Arc::clone(info));
    let values = match values::load(store, &[request]).await?.pop() {
        Some(Ok(values)) => values,
        Some(Err(failure)) => return Ok(Err(failure)),
        None => return Ok(Ok(Map::new())),
    };
    let scope = values.scope(plan, None);
    Ok(plan
        .outputs
        .iter()
        .map(|(name, value)| Ok((name.clone(), expression::render_value(value, &scope)?)))
        .collect())
}

async fn end(
    store: &Store,
    key: SessionKey,
    state: SessionState,
    outputs: Option<Value>,
    failure: Option<Failure>,
) -> sqlx::Result<()> {
    let outputs = outputs.as_ref().map(blobs::to_jsonb_text);
    let failure = failure.map(|failure| {
        blobs::without_nul(serde_json::to_value(failure).expect("a failure of ours serialises"))
    });
    sqlx::query!(
        "with ended as (
             update session_progress
                set state = $3, undecided = false, timed = false, finished_at = clock(),
                    error = coalesce($5, error), next_event = next_event + 1
              where tenant_id = $1 and session_id = $2 and undecided and open = 0
                and state in (1, 2, 4)
             returning next_event - 1 as number, finished_at
         ), kept as (
             update sessions s set outputs = $4::text::jsonb
               from ended
              where s.tenant_id = $1 and s.id = $2 and $4::text is not null
         )
         insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                             attempts, ats)
         select $1, $2, number, number, finished_at, array[$3::smallint], array[null::int],
                array[null::int], array[finished_at]
           from ended",
        key.tenant.0,
        key.id.0,
        state.code(),
        outputs as _,
        failure as _,
    )
    .execute(&store.pool)
    .await?;
    store.hints.send(Hint::Event(key.id));
    Ok(())
}
