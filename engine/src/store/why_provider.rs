//! Why a task waits for the provider of its agent's model, and until when.

use serde_json::{Value, json};

use super::{
    task_view::TaskRow,
    view::{ReadError, Views},
    why_ledger::{Ledger, time},
    why_view::WhyCode,
};
use crate::{event::EventKind, id::SessionKey, provider::ProviderKey};

impl Ledger<'_> {
    pub(super) async fn provider(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let told = self.views.deferral(self.session, row.seq).await?.unwrap_or_default();
        let provider = serde_json::from_value::<ProviderKey>(told["provider"].clone()).ok();
        let name = provider.map_or_else(|| "its model's provider".to_owned(), |it| it.to_string());
        let because = told["message"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
        let until = row.wake_at.map(|at| format!(", about {}", time(at))).unwrap_or_default();
        let message = format!(
            "`{key}` waits for {name}{because}: it asks again{until}; `jobshop provider list` shows \
             how it stands"
        );
        let data = json!({ "provider": told["provider"], "until": row.wake_at });
        self.add(WhyCode::Provider, Some(key), message, data);
        Ok(())
    }
}

impl Views {
    /// What was said when a row was last sent away by a provider.
    async fn deferral(&self, session: SessionKey, seq: i32) -> sqlx::Result<Option<Value>> {
        sqlx::query_scalar!(
            r#"select e.bodies[n] as "body!"
                 from events e
                cross join lateral generate_subscripts(e.kinds, 1) as n
                where e.tenant_id = $1 and e.session_id = $2
                  and e.kinds[n] = $4 and e.tasks[n] = $3 and e.bodies[n] ? 'provider'
                order by e.first_seq desc, n desc
                limit 1"#,
            session.tenant.0,
            session.id.0,
            seq,
            EventKind::TaskBlocked.code(),
        )
        .fetch_optional(&self.db)
        .await
    }
}
