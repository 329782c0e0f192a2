//! The parameters of the statement that moves tasks: each move a row, each property a column. It
//! decides nothing.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    super::{blobs, notes::microseconds},
    Move,
};
use crate::{
    event::EventKind,
    id::{SessionKey, TenantId},
    task::Reason,
};

/// The statement's parameters, as columns.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) tenants: Vec<Uuid>,
    pub(super) sessions: Vec<Uuid>,
    pub(super) retries: Vec<i32>,
    pub(super) slots: Vec<i32>,
    pub(super) seqs: Vec<i32>,
    pub(super) from: Vec<i16>,
    pub(super) attempts: Vec<i32>,
    pub(super) to: Vec<i16>,
    pub(super) reasons: Vec<i16>,
    pub(super) outputs: Vec<Option<String>>,
    pub(super) blobs: Vec<Option<Vec<u8>>>,
    pub(super) errors: Vec<Option<String>>,
    pub(super) delays: Vec<i64>,
    pub(super) started_us: Vec<i64>,
    pub(super) outcomes: Vec<i16>,
    pub(super) children: Vec<i32>,
    pub(super) bad: Vec<i32>,
    pub(super) opened: Vec<Option<String>>,
    pub(super) events: Vec<i16>,
    pub(super) bodies: Vec<Option<String>>,
    pub(super) quiet: Vec<bool>,
    pub(super) from_reasons: Vec<i16>,
    pub(super) receipted: Vec<bool>,
    /// Outputs that are too large for their row; stored before the rows that name them.
    bodies_of_blobs: Vec<(TenantId, blobs::Blob)>,
}

impl Columns {
    pub(super) fn of(
        moves: &[Move],
        keys: &[SessionKey],
        retries: &[(SessionKey, i32)],
        receipted: &[SessionKey],
    ) -> Self {
        let mut columns = Self {
            tenants: keys.iter().map(|key| key.tenant.0).collect(),
            sessions: keys.iter().map(|key| key.id.0).collect(),
            retries: keys
                .iter()
                .map(|key| retries.iter().find(|(k, _)| k == key).map_or(-1, |(_, retry)| *retry))
                .collect(),
            receipted: keys.iter().map(|key| receipted.contains(key)).collect(),
            ..Self::default()
        };
        for m in moves {
            let slot = keys.binary_search(&m.task.session).expect("every move's session is a key");
            columns.push(m, i32::try_from(slot + 1).expect("a batch is small"));
        }
        columns
    }

    /// Stores what is too large for its row.
    pub(super) async fn keep_blobs(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        for (tenant, blob) in &self.bodies_of_blobs {
            blobs::keep(&mut *conn, *tenant, blob).await?;
        }
        Ok(())
    }

    fn push(&mut self, m: &Move, slot: i32) {
        let (output, blob) = match m.output.as_ref().map(blobs::place) {
            None => (None, None),
            Some(blobs::Place::Inline(text)) => (Some(text), None),
            Some(blobs::Place::Outside(blob)) => {
                let hash = blob.hash.clone();
                self.bodies_of_blobs.push((m.task.session.tenant, blob));
                (None, Some(hash))
            }
        };
        self.slots.push(slot);
        self.seqs.push(m.task.seq);
        self.from.push(m.from.code());
        self.attempts.push(m.attempt);
        self.to.push(m.to.code());
        self.reasons.push(m.reason.map_or(-1, Reason::code));
        self.outputs.push(output);
        self.blobs.push(blob);
        self.errors.push(m.error.as_ref().map(to_text));
        self.delays.push(m.delay_ms.unwrap_or(-1));
        self.started_us.push(m.started.map_or(-1, microseconds));
        self.outcomes.push(m.ended.map_or(0, |ended| ended as i16));
        self.children.push(m.children.unwrap_or(-1));
        self.bad.push(m.bad);
        self.opened.push((!m.opened.is_empty()).then(|| int_array(&m.opened)));
        self.events.push(m.event.map_or(-1, EventKind::code));
        self.bodies.push(m.body.as_ref().map(to_text));
        self.quiet.push(m.quiet);
        self.from_reasons.push(m.from_reason.map_or(-1, Reason::code));
    }
}

fn to_text(value: &impl serde::Serialize) -> String {
    blobs::to_jsonb_text(&serde_json::to_value(value).expect("a value of ours serialises"))
}

/// A Postgres array literal.
fn int_array(numbers: &[i32]) -> String {
    let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", words.join(","))
}
