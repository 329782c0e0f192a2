//! Why a task waits for its locks, or a session for its place: who holds them, since when, and how many
//! come first.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    tickets::{self, Kind},
    view::{ReadError, Views},
    why_ledger::{Ledger, time},
    why_view::WhyCode,
};
use crate::id::{SessionId, SessionKey};

/// Holders that are named at most.
const HOLDERS_MAX: i64 = 5;

/// A turn at a limit.
pub(super) struct Turn {
    kind: i16,
    name: String,
    capacity: i32,
    held: i32,
    parked: bool,
    since: DateTime<Utc>,
    /// Those who come first.
    ahead: i64,
}

/// Who holds a limit.
pub(super) struct Holder {
    session: SessionId,
    /// The key of the task; none where the session itself holds it.
    task: Option<String>,
    since: DateTime<Utc>,
}

impl Holder {
    fn words(&self) -> String {
        let id = self.session.to_string();
        let tail = &id[id.len() - 8..];
        let since = time(self.since);
        match &self.task {
            Some(task) => format!("`{task}` of session {tail} since {since}"),
            None => format!("session {tail} since {since}"),
        }
    }

    fn data(&self) -> Value {
        json!({ "session": self.session, "task": self.task, "since": self.since })
    }
}

impl Ledger<'_> {
    /// A task that waits for its locks, one reason a lock.
    pub(super) async fn locks(&mut self, seq: i32, key: &str) -> Result<(), ReadError> {
        let turns = self.views.turns(self.session, seq).await?;
        if turns.is_empty() {
            let message = format!("`{key}` waits for its locks");
            self.add(WhyCode::Lock, Some(key), message, json!({}));
        }
        for turn in turns {
            let (says, data) = self.turn(&turn).await?;
            let message = format!("`{key}` waits for the lock `{}`{says}", turn.name);
            self.add(WhyCode::Lock, Some(key), message, data);
        }
        Ok(())
    }

    /// A session that waits for its place.
    pub(super) async fn place(&mut self) -> Result<(), ReadError> {
        let turn = self.views.turns(self.session, tickets::SESSION).await?.into_iter().next();
        let Some(turn) = turn else {
            let message = "the session waits for its place".to_owned();
            self.add(WhyCode::Place, None, message, json!({}));
            return Ok(());
        };
        let (says, data) = self.turn(&turn).await?;
        let message = format!("the session waits for a place under `{}`{says}", turn.name);
        self.add(WhyCode::Place, None, message, data);
        Ok(())
    }

    async fn turn(&self, turn: &Turn) -> Result<(String, Value), ReadError> {
        let holders = self.views.holders(self.session, turn.kind, &turn.name).await?;
        let position = turn.ahead + 1;
        let names: Vec<String> = holders.iter().map(Holder::words).collect();
        let more = i64::from(turn.held) - i64::try_from(names.len()).unwrap_or_default();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let who = if names.is_empty() {
            "nobody holds it now".to_owned()
        } else if turn.capacity == 1 && turn.held == 1 {
            format!("held by {}", names.join(", "))
        } else {
            format!("{} of {} held, by {}{more}", turn.held, turn.capacity, names.join(", "))
        };
        let place = if turn.parked {
            "it is paused and lets others pass".to_owned()
        } else {
            format!("number {position} in line")
        };
        let data = json!({
            "name": turn.name, "limit": turn.capacity, "held": turn.held, "position": position,
            "since": turn.since, "parked": turn.parked,
            "holders": holders.iter().map(Holder::data).collect::<Vec<_>>(),
        });
        Ok((format!(": {who}; {place}"), data))
    }
}

impl Views {
    /// What a row, or the session itself, waits for.
    async fn turns(&self, session: SessionKey, seq: i32) -> sqlx::Result<Vec<Turn>> {
        sqlx::query_as!(
            Turn,
            r#"select t.kind, t.name, l.capacity, l.held, t.parked, t.since,
                      (select count(*) from tickets w
                        where w.tenant_id = t.tenant_id and w.kind = t.kind and w.name = t.name
                          and not w.held and not w.parked
                          and (w.rank, w.number) < (t.rank, t.number)) as "ahead!"
                 from tickets t
                 join limits l on l.tenant_id = t.tenant_id and l.kind = t.kind and l.name = t.name
                where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3 and not t.held
                order by t.name
                limit 20"#,
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_all(&self.db)
        .await
    }

    /// Who holds a limit of the session's tenant, the first few.
    async fn holders(
        &self,
        session: SessionKey,
        kind: i16,
        name: &str,
    ) -> Result<Vec<Holder>, ReadError> {
        let rows = sqlx::query!(
            r#"select session_id, seq, held_since as "since!" from tickets
                where tenant_id = $1 and kind = $2 and name = $3 and held
                order by held_since, session_id, seq
                limit $4"#,
            session.tenant.0,
            kind,
            name,
            HOLDERS_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        let mut holders = Vec::with_capacity(rows.len());
        for row in rows {
            let id = SessionId(row.session_id);
            let task = if kind == Kind::Place.code() {
                None
            } else {
                let holder = SessionKey { tenant: session.tenant, id };
                let version = self.version_of(holder).await?;
                let paths = self.paths(holder, &version.plan, [row.seq], []).await?;
                paths.path(&version.plan, row.seq)
            };
            holders.push(Holder { session: id, task, since: row.since });
        }
        Ok(holders)
    }
}
