//! What an attempt took is written down, and what it had put aside is given back, in the transaction
//! that ends it.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{FREED, Rows, SESSION, amounts, load, mark, save};
use crate::{
    budget::{self, Amounts, Price},
    checkpoint::Spend,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    store::session_locks,
    task::TaskState,
};

/// What an attempt had put aside when it ended.
struct Ended {
    key: SessionKey,
    seq: i32,
    accounts: Vec<i32>,
    reserved: Amounts,
    held: bool,
    agent: bool,
    attempt: Option<i32>,
    /// How long it ran, if it did.
    ran_ms: Option<i64>,
    model: Option<String>,
    spend: Option<Spend>,
    /// The task has ended too.
    is_over: bool,
}

/// What it comes to.
struct Taken {
    amounts: Amounts,
    unmetered: bool,
    unpriced: bool,
}

/// Settles what these rows, of which an attempt or everything has ended, had put aside or waited to.
/// What is tried again waits for its share from here on. Returns how many there were.
pub(in crate::store) async fn settle(
    tx: &mut PgConnection,
    tasks: &[TaskKey],
) -> sqlx::Result<i32> {
    settle_those(tx, tasks, false).await
}

/// The same of rows that seemed to have been left; those that were not stay as they are.
pub(super) async fn settle_left(tx: &mut PgConnection, tasks: &[TaskKey]) -> sqlx::Result<i32> {
    settle_those(tx, tasks, true).await
}

async fn settle_those(
    tx: &mut PgConnection,
    tasks: &[TaskKey],
    only_left: bool,
) -> sqlx::Result<i32> {
    if tasks.is_empty() {
        return Ok(0);
    }
    // Sessions come before what is in them; whoever moved these rows in this transaction has them.
    session_locks::lock_of(tx, tasks.iter().copied()).await?;
    let ended = ended(tx, tasks, only_left).await?;
    if ended.is_empty() {
        return Ok(0);
    }
    let prices = prices(tx, &ended).await?;
    let wanted: Vec<(SessionKey, i32)> = ended
        .iter()
        .flat_map(|it| it.accounts.iter().map(|seq| (it.key, *seq)).chain([(it.key, SESSION)]))
        .collect();
    let before = load(tx, &wanted).await?;
    let mut now = before.clone();
    for it in &ended {
        if it.held {
            let price = it
                .model
                .as_ref()
                .and_then(|model| prices.get(&(it.key.tenant.0, model.clone())).copied());
            let taken = it.taken(price);
            book(&mut now, it, &taken);
            write(tx, it, &taken).await?;
        }
        give_back(tx, it).await?;
    }
    save(tx, &before, &now).await?;
    let mut keys: Vec<SessionKey> = ended.iter().map(|it| it.key).collect();
    keys.sort_unstable();
    keys.dedup();
    mark(tx, &keys, FREED).await?;
    Ok(i32::try_from(ended.len()).unwrap_or(i32::MAX))
}

impl Ended {
    /// What is not known counts as what was put aside: it may have been that much.
    fn taken(&self, price: Option<Price>) -> Taken {
        let Some(ran_ms) = self.ran_ms else {
            return Taken { amounts: [0; 3], unmetered: false, unpriced: false };
        };
        let Some(spend) = &self.spend else {
            let [tokens, usd, _] = if self.agent { self.reserved } else { [0; 3] };
            let amounts = [tokens, usd, ran_ms.max(0)];
            return Taken { amounts, unmetered: self.agent, unpriced: false };
        };
        let cost = match price {
            Some(price) => Some(price.of(spend)),
            None if spend.cost_usd > 0.0 => Some(budget::micros(spend.cost_usd)),
            None => (spend.tokens() + spend.cache_read_tokens == 0).then_some(0),
        };
        let usd = cost.unwrap_or(self.reserved[1]);
        Taken {
            amounts: [budget::tokens(spend), usd, ran_ms.max(0)],
            unmetered: false,
            unpriced: cost.is_none(),
        }
    }
}

fn book(rows: &mut Rows, ended: &Ended, taken: &Taken) {
    for seq in &ended.accounts {
        if let Some(row) = rows.get_mut(&(ended.key, *seq)) {
            row.account.settle(&ended.reserved, &taken.amounts);
            row.unmetered += i32::from(taken.unmetered);
            row.unpriced += i32::from(taken.unpriced);
        }
    }
}

async fn ended(
    tx: &mut PgConnection,
    tasks: &[TaskKey],
    only_left: bool,
) -> sqlx::Result<Vec<Ended>> {
    let tenants: Vec<Uuid> = tasks.iter().map(|task| task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = tasks.iter().map(|task| task.session.id.0).collect();
    let seqs: Vec<i32> = tasks.iter().map(|task| task.seq).collect();
    let rows = sqlx::query!(
        r#"select r.tenant_id, r.session_id, r.seq, r.accounts, r.amounts, r.held, r.agent, r.attempt,
                  (extract(epoch from clock() - r.begun_at) * 1000)::int8 as ran_ms, r.model, r.spend,
                  t.state as "state?"
             from reservations r
             left join tasks t on t.tenant_id = r.tenant_id and t.session_id = r.session_id
                              and t.seq = r.seq
            where (r.tenant_id, r.session_id, r.seq) in
                  (select * from unnest($1::uuid[], $2::uuid[], $3::int[]))
              and (not $4 or t.state is null or t.state >= 6
                   or (r.held and (t.state = 4 or r.attempt = t.last_attempt)))
            order by r.tenant_id, r.session_id, r.seq"#,
        &tenants,
        &sessions,
        &seqs,
        only_left
    )
    .fetch_all(tx)
    .await?;
    let spend = |stored: Value| serde_json::from_value(stored).ok();
    Ok(rows
        .into_iter()
        .map(|row| Ended {
            key: SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) },
            seq: row.seq,
            accounts: row.accounts,
            reserved: amounts(&row.amounts),
            held: row.held,
            agent: row.agent,
            attempt: row.attempt,
            ran_ms: row.ran_ms,
            model: row.model,
            spend: row.spend.and_then(spend),
            is_over: row.state.and_then(TaskState::from_code).is_none_or(TaskState::is_final),
        })
        .collect())
}

/// The prices of today of the models that were used.
async fn prices(
    tx: &mut PgConnection,
    ended: &[Ended],
) -> sqlx::Result<HashMap<(Uuid, String), Price>> {
    let used = ended.iter().filter_map(|it| Some((it.key.tenant.0, it.model.clone()?)));
    let (tenants, models): (Vec<Uuid>, Vec<String>) = used.unzip();
    if models.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "select distinct on (p.tenant_id, p.model)
                p.tenant_id, p.model, p.input, p.output, p.reasoning, p.cache_read, p.cache_write
           from prices p
          where (p.tenant_id, p.model) in (select * from unnest($1::uuid[], $2::text[]))
            and p.since <= clock()
          order by p.tenant_id, p.model, p.since desc",
        &tenants,
        &models
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let price = Price {
                input: row.input,
                output: row.output,
                reasoning: row.reasoning,
                cache_read: row.cache_read,
                cache_write: row.cache_write,
            };
            ((row.tenant_id, row.model), price)
        })
        .collect())
}

async fn write(tx: &mut PgConnection, ended: &Ended, taken: &Taken) -> sqlx::Result<()> {
    if ended.ran_ms.is_none() {
        return Ok(());
    }
    sqlx::query!(
        "insert into spends (tenant_id, session_id, seq, attempt, accounts, model, amounts, unmetered,
                             unpriced)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ended.key.tenant.0,
        ended.key.id.0,
        ended.seq,
        ended.attempt.unwrap_or_default(),
        &ended.accounts,
        ended.model,
        &taken.amounts,
        taken.unmetered,
        taken.unpriced,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// A task that has ended needs nothing any more; one that is tried again asks anew.
async fn give_back(tx: &mut PgConnection, ended: &Ended) -> sqlx::Result<()> {
    let Ended { key, seq, .. } = ended;
    if ended.is_over {
        sqlx::query!(
            "delete from reservations where tenant_id = $1 and session_id = $2 and seq = $3",
            key.tenant.0,
            key.id.0,
            seq
        )
        .execute(tx)
        .await?;
    } else {
        sqlx::query!(
            "update reservations
                set held = false, amounts = '{0,0,0}', attempt = null, worker = null, begun_at = null,
                    model = null, spend = null, asked_at = clock(), said = false
              where tenant_id = $1 and session_id = $2 and seq = $3",
            key.tenant.0,
            key.id.0,
            seq
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}
