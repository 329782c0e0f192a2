//! Who gets their share: tasks that wait for budgets become ready when what they put aside fits, in the
//! order in which they asked. What never fits pauses the session or fails the task.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Above, FREED, Row, Rows, SESSION, load, save,
    telling::{tell, wake_idle, wake_others},
};
use crate::{
    budget::{Account, Amounts, Answer, Books, Dimension, Need, OnExceed, Spot},
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::{ErrorClass, Failure},
    session::SessionState,
    store::{
        Hint, Store,
        events::{self, Entry},
        sessions::SteerError,
        steer,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Sessions that are looked at in one turn, and tasks of each.
const SESSIONS: i64 = 100;
const TASKS: i64 = 500;

/// Lets go what fits; returns how much was done.
pub(in crate::store) async fn tend(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query!(
        "select tenant_id, session_id from budgets
          where due > 0
          order by tenant_id, session_id
          limit $1",
        SESSIONS
    )
    .fetch_all(&store.pool)
    .await?;
    let mut done = 0;
    for row in due {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        done += look(store, key).await?;
    }
    Ok(done)
}

/// What a look at a session came to.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they say things that do not exclude each other")]
struct Looked {
    /// Something of the session came free.
    freed: bool,
    is_over: bool,
    granted: usize,
    /// Who waits for what somebody else may give back.
    waits: bool,
    asks_above: bool,
    exceeded: Vec<Exceeded>,
}

/// A task that never fits, and where.
#[derive(Debug)]
struct Exceeded {
    task: TaskKey,
    attempt: i32,
    owner: SessionKey,
    on_exceed: OnExceed,
    why: String,
}

async fn look(store: &Store, key: SessionKey) -> sqlx::Result<usize> {
    let mut looked = grant(store, key, false).await?;
    if looked.asks_above {
        let near = looked;
        looked = grant(store, key, true).await?;
        looked.freed |= near.freed;
        looked.granted += near.granted;
    }
    if looked.waits {
        wake_idle(store, key).await?;
    }
    if looked.freed {
        tell(store, key, looked.is_over).await?;
        wake_others(store, key).await?;
    }
    for exceeded in &looked.exceeded {
        act(store, exceeded).await?;
    }
    Ok(looked.granted + looked.exceeded.len() + usize::from(looked.freed))
}

/// A task that waits.
struct Waiting {
    seq: i32,
    attempt: i32,
    accounts: Vec<i32>,
    need: Need,
    said: bool,
}

/// Gives out what fits, in one transaction: with `deep` all the way up, otherwise within the session.
async fn grant(store: &Store, key: SessionKey, deep: bool) -> sqlx::Result<Looked> {
    let mut tx = store.pool.begin().await?;
    let path = path(&mut tx, key, deep).await?;
    let mut sessions: Vec<SessionKey> = path.iter().map(|above| above.session).collect();
    sessions.push(key);
    let state = lock(&mut tx, &sessions, key).await?;
    let freed = take_due(&mut tx, key).await?;
    let is_over = state.is_none_or(SessionState::is_final);
    let mut looked = Looked { freed, is_over, ..Looked::default() };
    let goes_on = [SessionState::Queued, SessionState::Running, SessionState::Degraded].map(Some);
    if !goes_on.contains(&state) {
        tx.commit().await?;
        return Ok(looked);
    }
    let waiting = waiting(&mut tx, key).await?;
    let own = waiting.iter().flat_map(|it| it.accounts.iter().map(|seq| (key, *seq)));
    let above = path.iter().flat_map(|it| it.seqs.iter().map(|seq| (it.session, *seq)));
    let wanted: Vec<(SessionKey, i32)> = own.chain(above).chain([(key, SESSION)]).collect();
    let before = load(&mut tx, &wanted).await?;
    let mut now = before.clone();
    let (mut granted, mut entries) = (Vec::new(), Vec::new());
    for it in &waiting {
        let places = places(key, it, &path);
        let mut books = books(&now, &places);
        match books.reserve(&it.need) {
            Answer::Granted(amounts) => {
                put_back(&mut now, &places, books);
                granted.push((it.seq, amounts));
            }
            Answer::Waits(spot) => {
                looked.waits = true;
                entries.extend(says(&now, &places, it, spot));
            }
            Answer::AskAbove => looked.asks_above = true,
            Answer::Exceeded(spot) => {
                entries.extend(says(&now, &places, it, spot));
                looked.exceeded.extend(exceeded(&now, &places, it, spot, key));
            }
        }
    }
    let_go(&mut tx, key, &granted).await?;
    save(&mut tx, &before, &now).await?;
    let is_said = !entries.is_empty();
    say(&mut tx, key, entries).await?;
    tx.commit().await?;
    looked.granted = granted.len();
    if !granted.is_empty() {
        store.hints.send(Hint::Ready);
    }
    if is_said {
        store.hints.send(Hint::Event(key.id));
    }
    Ok(looked)
}

/// The accounts above a session, from the inside out.
pub(super) async fn path(
    tx: &mut PgConnection,
    key: SessionKey,
    deep: bool,
) -> sqlx::Result<Vec<Above>> {
    if !deep {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"with recursive up as (
               select b.above_id, b.above_seqs, 0 as depth from budgets b
                where b.tenant_id = $1 and b.session_id = $2 and b.seq = 0
                union all
               select b.above_id, b.above_seqs, u.depth + 1
                 from up u
                 join budgets b on b.tenant_id = $1 and b.session_id = u.above_id and b.seq = 0
                where u.depth < 100
           )
           select above_id as "above_id!", above_seqs as "above_seqs!" from up
            where above_id is not null
            order by depth"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_all(tx)
    .await?;
    let session = |id| SessionKey { tenant: key.tenant, id: SessionId(id) };
    Ok(rows
        .into_iter()
        .map(|row| Above { session: session(row.above_id), seqs: row.above_seqs })
        .collect())
}

/// Locks sessions in their order; the state of the one that is looked at, where it may go on.
pub(super) async fn lock(
    tx: &mut PgConnection,
    sessions: &[SessionKey],
    key: SessionKey,
) -> sqlx::Result<Option<SessionState>> {
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.id.0).collect();
    let rows = sqlx::query!(
        "select session_id, state, sweep from session_progress
          where tenant_id = $1 and session_id = any ($2)
          order by tenant_id, session_id
            for no key update",
        key.tenant.0,
        &ids
    )
    .fetch_all(tx)
    .await?;
    let own = rows.into_iter().find(|row| row.session_id == key.id.0);
    Ok(own.and_then(|row| {
        let state = SessionState::from_code(row.state)?;
        // What is open of it is being cancelled.
        (state.is_final() || row.sweep == 0).then_some(state).or(Some(SessionState::Paused))
    }))
}

/// It is looked at now. True where something of it had come free.
async fn take_due(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<bool> {
    let due = sqlx::query_scalar!(
        "with before as materialized (
             select due from budgets
              where tenant_id = $1 and session_id = $2 and seq = 0
                for no key update
         )
         update budgets b set due = 0
           from before
          where b.tenant_id = $1 and b.session_id = $2 and b.seq = 0
         returning before.due",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(due == Some(FREED))
}

async fn waiting(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        "select r.seq, t.attempt, r.accounts, r.most, r.strict, r.said
           from reservations r
           join tasks t on t.tenant_id = r.tenant_id and t.session_id = r.session_id
                       and t.seq = r.seq
          where r.tenant_id = $1 and r.session_id = $2 and not r.held
            and t.state = 4 and t.reason = $3 and not t.undecided
          order by r.number
          limit $4",
        key.tenant.0,
        key.id.0,
        Reason::Budget.code(),
        TASKS
    )
    .fetch_all(tx)
    .await?;
    let flags = |stored: &[bool]| std::array::from_fn(|of| stored.get(of) == Some(&true));
    Ok(rows
        .into_iter()
        .map(|row| Waiting {
            seq: row.seq,
            attempt: row.attempt,
            accounts: row.accounts,
            need: Need { most: super::amounts(&row.most), strict: flags(&row.strict) },
            said: row.said,
        })
        .collect())
}

/// Where the accounts of a path are kept.
pub(super) type Places = Vec<Vec<(SessionKey, i32)>>;

fn places(key: SessionKey, waiting: &Waiting, path: &[Above]) -> Places {
    let own = waiting.accounts.iter().map(|seq| (key, *seq)).collect();
    let above = path.iter().map(|it| it.seqs.iter().map(|seq| (it.session, *seq)).collect());
    std::iter::once(own).chain(above).collect()
}

pub(super) fn books(rows: &Rows, places: &Places) -> Books {
    let account = |place| rows.get(place).map_or_else(Account::default, |row: &Row| row.account);
    Books { levels: places.iter().map(|level| level.iter().map(account).collect()).collect() }
}

pub(super) fn put_back(rows: &mut Rows, places: &Places, books: Books) {
    for (level, accounts) in places.iter().zip(books.levels) {
        for (place, account) in level.iter().zip(accounts) {
            if let Some(row) = rows.get_mut(place) {
                row.account = account;
            }
        }
    }
}

/// Those who got their shares are ready.
async fn let_go(
    tx: &mut PgConnection,
    key: SessionKey,
    granted: &[(i32, Amounts)],
) -> sqlx::Result<()> {
    if granted.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i32> = granted.iter().map(|(seq, _)| *seq).collect();
    let of = |n: usize| granted.iter().map(|(_, amounts)| amounts[n]).collect::<Vec<i64>>();
    sqlx::query!(
        "with ready as (
             update tasks t
                set state = 1, queued = true, reason = null, delayed = false, wake_at = null,
                    ready_at = clock(), rank = clock() + priority_offset(t.priority)
              where t.tenant_id = $1 and t.session_id = $2 and t.seq = any ($3)
         )
         update reservations r
            set held = true, amounts = array[k.tokens, k.usd, k.wall]
           from unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
                as k (seq, tokens, usd, wall)
          where r.tenant_id = $1 and r.session_id = $2 and r.seq = k.seq",
        key.tenant.0,
        key.id.0,
        &seqs,
        &of(0),
        &of(1),
        &of(2),
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// What an account stands at, in words.
fn told(row: &Row, of: usize, need: i64) -> String {
    let dimension = Dimension::ALL[of];
    let account = &row.account;
    let whose =
        if row.name.is_empty() { "the session".to_owned() } else { format!("`{}`", row.name) };
    // What slices below it have spent may not have been told yet, so only that is said which is sure.
    format!(
        "the budget of {whose}: of {} too little is left for the {} that are needed",
        dimension.show(account.limits[of].unwrap_or_default()),
        dimension.show(need),
    )
}

fn row_at<'a>(rows: &'a Rows, places: &Places, spot: Spot) -> Option<&'a Row> {
    rows.get(places.get(spot.level)?.get(spot.at)?)
}

/// The event of a task that begins to wait.
fn says(rows: &Rows, places: &Places, it: &Waiting, spot: Spot) -> Option<(i32, Entry)> {
    if it.said {
        return None;
    }
    let row = row_at(rows, places, spot)?;
    let of = spot.of;
    let body = json!({
        "reason": Reason::Budget,
        "budget": { "session": row.key.id, "task": row.name },
        "of": Dimension::ALL[of].as_str(),
        "limit": row.account.limits[of], "used": row.account.spent[of],
        "reserved": row.account.reserved[of], "needed": it.need.most[of],
    });
    Some((it.seq, Entry::of_task(EventKind::of_task(TaskState::Blocked), it.seq, body)))
}

async fn say(
    tx: &mut PgConnection,
    key: SessionKey,
    entries: Vec<(i32, Entry)>,
) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (seqs, entries): (Vec<i32>, Vec<Entry>) = entries.into_iter().unzip();
    sqlx::query!(
        "update reservations set said = true
          where tenant_id = $1 and session_id = $2 and seq = any ($3)",
        key.tenant.0,
        key.id.0,
        &seqs
    )
    .execute(&mut *tx)
    .await?;
    events::append(tx, key, &entries, None).await
}

fn exceeded(
    rows: &Rows,
    places: &Places,
    it: &Waiting,
    spot: Spot,
    key: SessionKey,
) -> Option<Exceeded> {
    let row = row_at(rows, places, spot)?;
    Some(Exceeded {
        task: TaskKey { session: key, seq: it.seq },
        attempt: it.attempt,
        owner: row.key,
        on_exceed: row.on_exceed,
        why: told(row, spot.of, it.need.most[spot.of]),
    })
}

/// What happens to a task that never fits.
async fn act(store: &Store, exceeded: &Exceeded) -> sqlx::Result<()> {
    if exceeded.on_exceed == OnExceed::Pause {
        let reason = format!("{}; `jobshop budget raise` lets it go on", exceeded.why);
        return match steer::pause_at_budget(store, exceeded.owner, &reason).await {
            Err(SteerError::Database(error)) => Err(error),
            // It is paused already, or ends.
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let Exceeded { task, attempt, .. } = exceeded;
    let mut failed = Move::new(*task, *attempt, TaskState::Blocked, TaskState::Failed);
    failed.from_reason = Some(Reason::Budget);
    failed.locks = true;
    failed.funded = true;
    let failure = Failure::new(ErrorClass::Budget, exceeded.why.clone());
    failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
    failed.error = Some(failure);
    let moved = transition(&store.pool, Mover::Control, &[failed], &[], None).await?;
    if moved.ready > 0 {
        store.hints.send(Hint::Ready);
    }
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(task.session.id));
    Ok(())
}
