//! Why a task waits that waits for people: who may decide, how many have, until when; which signal
//! it waits for; what its agent asks. Each reason names the command that ends the wait.

use serde_json::json;

use super::{task_view::TaskRow, view::ReadError, why_ledger::Ledger, why_view::WhyCode};
use crate::decompose;

impl Ledger<'_> {
    pub(super) async fn approval(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let Some(open) = self.views.open_approval(self.session, row.seq).await? else {
            let message = format!("`{key}` waits for an approval");
            self.add(WhyCode::Approval, Some(key), message, json!({}));
            return Ok(());
        };
        let id = open.id.to_string();
        let quorum = open.question.quorum;
        let barred = match &open.question.barred {
            Some(name) => format!(", but not `{name}`, who submitted the session"),
            None => String::new(),
        };
        let tail = tail(&id);
        let message = format!(
            "`{key}` waits for approval by {}{barred}: {} of {quorum} so far{}; \
             `jobshop approve {tail}` or `jobshop reject {tail}` decides",
            open.question.deciders(),
            open.approvals,
            until(row),
        );
        let data = json!({
            "approval": id, "from": open.question.from, "quorum": quorum,
            "approvals": open.approvals, "escalated": open.question.is_escalated,
            "until": open.expires_at,
        });
        self.add(WhyCode::Approval, Some(key), message, data);
        Ok(())
    }

    /// What an agent asks, whether its attempt waits for it or the task does without one.
    pub(super) async fn questions(&mut self, seq: i32, key: &str) -> Result<(), ReadError> {
        let open = self.views.open_questions(self.session, seq).await?;
        for question in open {
            let id = question.id.to_string();
            let message = format!(
                "`{key}` waits for an answer by {}, until {}: {}; `jobshop inbox answer {}` answers",
                question.asked.deciders(),
                super::why_ledger::time(question.expires_at),
                question.message,
                tail(&id),
            );
            let data = json!({
                "question": id, "kind": question.kind, "from": question.asked.from,
                "quorum": question.asked.quorum, "escalated": question.asked.is_escalated,
                "until": question.expires_at,
            });
            self.add(WhyCode::Question, Some(key), message, data);
        }
        Ok(())
    }

    pub(super) async fn signal(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let name = self.views.awaited(self.session, row.seq).await?.unwrap_or_default();
        if let Some(what) = decompose::awaited(&name) {
            let message = format!("`{key}` waits until {what}");
            self.add(WhyCode::Signal, Some(key), message, json!({ "signal": name }));
            return Ok(());
        }
        let session = self.session.id.to_string();
        let message = format!(
            "`{key}` waits for the signal `{name}`{}; \
             `jobshop session signal {} {name} --data JSON` sends it",
            until(row),
            tail(&session),
        );
        let data = json!({ "signal": name, "until": row.wake_at });
        self.add(WhyCode::Signal, Some(key), message, data);
        Ok(())
    }
}

fn until(row: &TaskRow) -> String {
    row.wake_at.map(|at| format!(", until {}", super::why_ledger::time(at))).unwrap_or_default()
}

/// The last 8 characters of an id, as tables print it.
pub(super) fn tail(id: &str) -> &str {
    &id[id.len() - 8..]
}
