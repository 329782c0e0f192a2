//! People in the lane: they vote as the messages of approvals say, and send the signals that tasks
//! wait for. What they do may come too late, when their session was cut off.

use std::collections::HashMap;

use jobshop_engine::{
    approval::{Decision, Said, Voter},
    id::{SessionId, SessionKey, TenantId},
    role::Role,
    store::{
        Store,
        approvals::{self, VoteError},
        signals::{self, NewSignal, SignalError},
    },
    task::Reason,
};
use serde_json::json;
use uuid::Uuid;

use super::{Lane, Trial};
use crate::model::flow::{Coming, Kind};

/// Answers everything that is asked now; returns how much that was.
pub(super) async fn act(
    lane: &Lane,
    sessions: &HashMap<SessionKey, usize>,
    trials: &[Trial<'_>],
) -> usize {
    let ids: Vec<Uuid> = sessions.keys().map(|key| key.id.0).collect();
    let asked: Vec<(Uuid, String)> = sqlx::query_as(
        "select id, message from approvals where status = 0 and message <> 'nothing' and session_id = any($1)",
    )
    .bind(&ids)
    .fetch_all(lane.db.pool())
    .await
    .expect("the approvals are read");
    let mut acts = 0;
    for (id, message) in asked {
        acts += usize::from(vote(&lane.store, id, &message).await);
    }
    let awaited: Vec<(Uuid, String)> = sqlx::query_as(
        "select w.session_id, w.name
           from signal_waits w
           join tasks t on t.tenant_id = w.tenant_id and t.session_id = w.session_id
                       and t.seq = w.seq
          where t.state = 4 and t.reason = $2 and w.session_id = any($1)",
    )
    .bind(&ids)
    .bind(Reason::Signal.code())
    .fetch_all(lane.db.pool())
    .await
    .expect("the waits are read");
    for (session, name) in awaited {
        let key = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(session) };
        let comes = sessions.get(&key).map(|at| &trials[*at]).is_none_or(|it| it.is_sent(&name));
        if !comes {
            continue;
        }
        acts += usize::from(signal(&lane.store, key, &name).await);
    }
    acts
}

impl Trial<'_> {
    /// Whether somebody sends this signal when it is waited for: not what never comes, nor what came
    /// before the only one began to wait for it.
    fn is_sent(&self, name: &str) -> bool {
        let is_first = self.retries == 0;
        let waits = self.tasks.get(name).map(|task| &task.kind);
        match waits {
            Some(Kind::Wait(Coming::Never)) => false,
            Some(Kind::Wait(Coming::Early)) => !is_first || !self.flow.is_single(name),
            _ => true,
        }
    }
}

async fn vote(store: &Store, id: Uuid, message: &str) -> bool {
    let decision = if message == "approve" { Decision::Approve } else { Decision::Reject };
    let voter = Voter { name: "p", role: Role::Operator };
    match approvals::vote(store, (TenantId::DEFAULT, id), voter, decision, Said::Nothing).await {
        Ok(()) => true,
        Err(VoteError::Ended { .. }) => false,
        Err(error) => unreachable!("a vote was refused: {error}"),
    }
}

/// Sends the signal that the task with this id waits for.
pub(super) async fn signal(store: &Store, key: SessionKey, name: &str) -> bool {
    let data = json!({ "of": name });
    let new = NewSignal { name, data: &data, sent_by: "p", idempotency: None };
    match signals::send(store, key, new).await {
        Ok(_) => true,
        Err(SignalError::Ended(..)) => false,
        Err(error) => unreachable!("a signal was refused: {error}"),
    }
}
