//! The gates before providers' models, one for the whole fleet: whoever asks holds the row. The rule
//! is [`crate::provider::Gate`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::{
    duration::Span,
    provider::{Answer, Breaker, Gate, ProviderKey, Quota},
};

/// A gate as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ProviderObject {
    pub provider: String,
    pub account: String,
    pub model: String,
    /// What a minute brings.
    pub quota: Quota,
    pub breaker: Breaker,
    /// Open: no turn begins before then.
    #[schema(required)]
    pub open_until: Option<DateTime<Utc>>,
    /// Turns that were let through, those included that a worker was given beforehand and let lapse.
    pub begun: i64,
    /// Refusals of the provider.
    pub refused: i64,
    #[schema(required)]
    pub refused_at: Option<DateTime<Utc>>,
    /// Who set the quota.
    #[schema(required)]
    pub updated_by: Option<String>,
}

/// What whoever asks to begin a turn is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// So many turns may begin.
    Granted(u32),
    Wait(Wait),
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub until: DateTime<Utc>,
    /// From now on.
    pub span: Span,
}

impl Wait {
    /// The same, so much later.
    #[must_use]
    pub fn later(self, by: Span) -> Self {
        let ms = self.span.ms.saturating_add(by.ms);
        Self { until: self.until + by.to_std(), span: Span { ms } }
    }

    fn of(until: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let ms = (until - now).num_milliseconds();
        Self { until, span: Span { ms: u64::try_from(ms).unwrap_or_default() } }
    }
}

/// Whether a turn may begin; with a quota up to `want`, as many as come in a second.
pub async fn ask(db: &PgPool, key: &ProviderKey, want: u32) -> sqlx::Result<Turn> {
    change(db, key, |gate, now| {
        let in_a_second = gate.quota.turns.map_or(1, |turns| (turns / 60).clamp(1, want));
        let (turn, begun) = match gate.ask(now, in_a_second) {
            Answer::Granted(turns) => (Turn::Granted(turns), i64::from(turns)),
            Answer::Wait(until) => (Turn::Wait(Wait::of(until, now)), 0),
        };
        (turn, Told { begun, refused: false })
    })
    .await
}

/// The provider refused a turn; what it said of when to come again, if anything. Returns when it may
/// be asked again.
pub async fn refused(db: &PgPool, key: &ProviderKey, told: Option<Span>) -> sqlx::Result<Wait> {
    let told = told.and_then(|told| TimeDelta::try_milliseconds(told.ms.try_into().ok()?));
    change(db, key, |gate, now| {
        gate.refused(now, told);
        (Wait::of(gate.open_until.unwrap_or(now), now), Told { begun: 0, refused: true })
    })
    .await
}

/// The provider answered a turn.
pub async fn passed(db: &PgPool, key: &ProviderKey) -> sqlx::Result<()> {
    change(db, key, |gate, now| (gate.passed(now), Told::default())).await
}

/// Turns took so many tokens.
pub async fn used(db: &PgPool, key: &ProviderKey, tokens: u64) -> sqlx::Result<()> {
    change(db, key, |gate, now| (gate.used(now, tokens), Told::default())).await
}

/// Another quota holds from now on.
pub async fn limit(
    db: &PgPool,
    key: &ProviderKey,
    quota: Quota,
    actor: Option<&str>,
) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    let (mut gate, now) = locked(&mut tx, key).await?;
    gate.limit(quota, now);
    write(&mut tx, key, &gate, Told::default()).await?;
    sqlx::query!(
        "update providers set updated_by = $4 where provider = $1 and account = $2 and model = $3",
        key.provider,
        key.account,
        key.model,
        actor
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// All gates, in the order of their names.
pub async fn list(db: &PgPool) -> sqlx::Result<Vec<ProviderObject>> {
    let rows = sqlx::query!(
        "select provider, account, model, turns_per_minute, tokens_per_minute, breaker, open_until,
                begun, refused, refused_at, updated_by, clock() as \"now!\"
           from providers
          order by provider, account, model"
    )
    .fetch_all(db)
    .await?;
    let objects = rows.into_iter().map(|row| ProviderObject {
        quota: quota(row.turns_per_minute, row.tokens_per_minute),
        breaker: match Breaker::from_code(row.breaker).unwrap_or(Breaker::Closed) {
            // The next turn finds out.
            Breaker::Open if row.open_until.is_none_or(|until| until <= row.now) => {
                Breaker::Recovering
            }
            breaker @ (Breaker::Closed | Breaker::Open | Breaker::Recovering) => breaker,
        },
        open_until: row.open_until.filter(|until| *until > row.now),
        provider: row.provider,
        account: row.account,
        model: row.model,
        begun: row.begun,
        refused: row.refused,
        refused_at: row.refused_at,
        updated_by: row.updated_by,
    });
    Ok(objects.collect())
}

/// What of a change is counted.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    begun: i64,
    refused: bool,
}

async fn change<T>(
    db: &PgPool,
    key: &ProviderKey,
    act: impl FnOnce(&mut Gate, DateTime<Utc>) -> (T, Told),
) -> sqlx::Result<T> {
    let mut tx = db.begin().await?;
    let (mut gate, now) = locked(&mut tx, key).await?;
    let (answer, told) = act(&mut gate, now);
    write(&mut tx, key, &gate, told).await?;
    tx.commit().await?;
    Ok(answer)
}

/// The gate of a key, made if need be, with its row locked; and the time after that.
async fn locked(tx: &mut PgConnection, key: &ProviderKey) -> sqlx::Result<(Gate, DateTime<Utc>)> {
    sqlx::query!(
        "insert into providers (provider, account, model, turns, tokens, filled_at)
         values ($1, $2, $3, 0, 0, clock())
             on conflict do nothing",
        key.provider,
        key.account,
        key.model
    )
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query!(
        "select turns_per_minute, tokens_per_minute, turns, tokens, filled_at, breaker, open_until,
                refusals, room, under_way, granted_at
           from providers
          where provider = $1 and account = $2 and model = $3
            for no key update",
        key.provider,
        key.account,
        key.model
    )
    .fetch_one(&mut *tx)
    .await?;
    let now = sqlx::query_scalar!("select clock() as \"now!\"").fetch_one(&mut *tx).await?;
    let gate = Gate {
        quota: quota(row.turns_per_minute, row.tokens_per_minute),
        turns: row.turns,
        tokens: row.tokens,
        filled_at: row.filled_at,
        breaker: Breaker::from_code(row.breaker).unwrap_or(Breaker::Closed),
        open_until: row.open_until,
        refusals: row.refusals,
        room: row.room,
        under_way: row.under_way,
        granted_at: row.granted_at,
    };
    Ok((gate, now))
}

async fn write(
    tx: &mut PgConnection,
    key: &ProviderKey,
    gate: &Gate,
    told: Told,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update providers
            set turns_per_minute = $4, tokens_per_minute = $5, turns = $6, tokens = $7,
                filled_at = $8, breaker = $9, open_until = $10, refusals = $11, room = $12,
                under_way = $13, granted_at = $14, begun = begun + $15,
                refused = refused + $16::bool::int,
                refused_at = case when $16 then clock() else refused_at end
          where provider = $1 and account = $2 and model = $3",
        key.provider,
        key.account,
        key.model,
        gate.quota.turns.map(|turns| i32::try_from(turns).unwrap_or(i32::MAX)),
        gate.quota.tokens.map(u64::cast_signed),
        gate.turns,
        gate.tokens,
        gate.filled_at,
        gate.breaker.code(),
        gate.open_until,
        gate.refusals,
        gate.room,
        gate.under_way,
        gate.granted_at,
        told.begun,
        told.refused
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn quota(turns: Option<i32>, tokens: Option<i64>) -> Quota {
    Quota { turns: turns.map(i32::cast_unsigned), tokens: tokens.map(i64::cast_unsigned) }
}
