//! Why a task is assigned: to whom it is offered, and until when nobody else may take it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use super::{
    task_view::TaskRow,
    view::{ReadError, Views},
    why_ledger::Ledger,
    why_view::WhyCode,
};
use crate::id::SessionKey;

struct OfferRow {
    agent: String,
    score: f64,
    until: DateTime<Utc>,
}

impl Ledger<'_> {
    pub(super) async fn assigned(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let Some(offer) = self.views.offer_of(self.session, row.seq).await? else {
            let message = format!("`{key}` is offered to an agent");
            self.add(WhyCode::Assigned, Some(key), message, json!({}));
            return Ok(());
        };
        let OfferRow { agent, score, until } = offer;
        let time = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = format!(
            "`{key}` is offered to `{agent}` (score {score:.2}) until {time}; after that any agent \
             that can may take it"
        );
        let data = json!({ "agent": agent, "score": score, "until": until });
        self.add(WhyCode::Assigned, Some(key), message, data);
        Ok(())
    }
}

impl Views {
    async fn offer_of(&self, session: SessionKey, seq: i32) -> sqlx::Result<Option<OfferRow>> {
        sqlx::query_as!(
            OfferRow,
            "select w.name as agent, o.score, o.until
               from offers o
               join workers w on w.id = o.worker_id
              where o.tenant_id = $1 and o.session_id = $2 and o.seq = $3",
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_optional(&self.db)
        .await
    }
}
