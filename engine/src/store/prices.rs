//! What models cost, as the operator of a tenant says it, with the dates from which that holds.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::view::{Page, ReadError, Views};
use crate::{
    budget::{Price, usd},
    id::TenantId,
};

/// Prices that are shown at most.
const SHOWN_MAX: i64 = 1_000;

/// A price to be set.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPrice {
    pub model: String,
    /// From now on, without it.
    pub since: Option<DateTime<Utc>>,
    pub price: Price,
}

/// What a model costs from a date on: dollars for a million tokens of each kind.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PriceObject {
    pub model: String,
    pub since: DateTime<Utc>,
    pub input: f64,
    pub output: f64,
    /// Null: what output costs.
    #[schema(required)]
    pub reasoning: Option<f64>,
    /// Null: what input costs.
    #[schema(required)]
    pub cache_read: Option<f64>,
    /// Null: what input costs.
    #[schema(required)]
    pub cache_write: Option<f64>,
    #[schema(required)]
    pub set_by: Option<String>,
    pub set_at: DateTime<Utc>,
}

/// Sets prices, all or none. One of the same model and date takes the place of the one before.
pub async fn set(db: &PgPool, tenant: TenantId, new: &[NewPrice], by: &str) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    for NewPrice { model, since, price } in new {
        sqlx::query!(
            "insert into prices (tenant_id, model, since, input, output, reasoning, cache_read,
                                 cache_write, set_by)
             values ($1, $2, coalesce($3, clock()), $4, $5, $6, $7, $8, $9)
                 on conflict on constraint prices_pkey do update
                set input = excluded.input, output = excluded.output, reasoning = excluded.reasoning,
                    cache_read = excluded.cache_read, cache_write = excluded.cache_write,
                    set_by = excluded.set_by, set_at = clock()",
            tenant.0,
            model,
            *since as _,
            price.input,
            price.output,
            price.reasoning,
            price.cache_read,
            price.cache_write,
            by,
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

impl Views {
    /// The prices of all models, or of one, by model, the newest first.
    pub async fn prices(&self, model: Option<&str>) -> Result<Page<PriceObject>, ReadError> {
        let rows = sqlx::query!(
            "select model, since, input, output, reasoning, cache_read, cache_write, set_by, set_at
               from prices
              where tenant_id = $1 and ($2::text is null or model = $2)
              order by model, since desc
              limit $3",
            self.tenant().0,
            model,
            SHOWN_MAX
        )
        .fetch_all(&self.db)
        .await?;
        let items = rows
            .into_iter()
            .map(|row| PriceObject {
                model: row.model,
                since: row.since,
                input: usd(row.input),
                output: usd(row.output),
                reasoning: row.reasoning.map(usd),
                cache_read: row.cache_read.map(usd),
                cache_write: row.cache_write.map(usd),
                set_by: row.set_by,
                set_at: row.set_at,
            })
            .collect();
        Ok(Page { items, next: None })
    }
}
