//! Rows that begin to wait for people: an approval is asked for, or a signal is waited for, in the
//! transaction that lets the row wait.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    id::{SessionKey, TaskKey},
    plan::{Kind, Node, NodeIndex},
    store::{
        Hint, SessionInfo, Store,
        approvals::{self, NewApproval},
        budgets,
        offers::{self, Offer},
        signals,
        tickets::Wanted,
        transition::{Move, Moved, Mover, transition_in},
    },
    task::Reason,
};

/// What a row waits for that begins to.
#[derive(Debug)]
pub(super) enum Wish {
    Approval(NewApproval),
    Signal {
        row: (TaskKey, NodeIndex, i32),
        name: String,
    },
    Locks(Wanted),
    Budget {
        row: (TaskKey, NodeIndex, i32),
    },
    /// Whom a task is offered to first.
    Offer(Offer),
}

/// What an approval task asks.
pub(super) fn approval(task: TaskKey, node: &Node, message: String) -> Wish {
    let (from, quorum, bars_submitter) = match &node.kind {
        Kind::Approval(spec) => (spec.from.clone(), spec.quorum, spec.bars_submitter),
        Kind::Run(_)
        | Kind::Agent(_)
        | Kind::Builtin(_)
        | Kind::Sleep(_)
        | Kind::Session(_)
        | Kind::WaitFor(_)
        | Kind::Group(_) => (Vec::new(), 1, false),
    };
    Wish::Approval(NewApproval { task, message, from, quorum, bars_submitter })
}

/// The move of a row that begins to wait for people.
pub(super) fn wait(mut to_blocked: Move, reason: Reason, timeout_ms: Option<i64>) -> Move {
    to_blocked.reason = Some(reason);
    to_blocked.delay_ms = timeout_ms;
    to_blocked.body = Some(json!({ "reason": reason }));
    to_blocked
}

/// The move of a row that begins to wait for its share of budgets. Nobody is told: mostly it gets that
/// at once.
pub(super) fn share(mut to_blocked: Move) -> Move {
    to_blocked.reason = Some(Reason::Budget);
    to_blocked.event = None;
    to_blocked
}

/// Moves rows, some of which begin to wait: `wishes` says which of the moves, by position. Commits,
/// and returns what came of the moves; rows that found their signal there already have moved on.
pub(super) async fn begin(
    store: &Store,
    mut tx: Transaction<'_, Postgres>,
    moves: &[Move],
    retries: &[(SessionKey, i32)],
    wishes: &[(usize, Wish)],
    infos: &HashMap<SessionKey, Arc<SessionInfo>>,
) -> sqlx::Result<Moved> {
    let mut moved = transition_in(&mut tx, Mover::Control, moves, retries, None).await?;
    let mut fulfilled = Vec::new();
    let mut wanted = Vec::new();
    for (at, wish) in wishes {
        if moved.accepted.get(*at) == Some(&true) {
            match wish {
                Wish::Locks(locks) => wanted.push(locks.clone()),
                Wish::Approval(_) | Wish::Signal { .. } | Wish::Budget { .. } | Wish::Offer(_) => {
                    fulfilled.extend(note(&mut tx, wish, infos).await?);
                }
            }
        }
    }
    let further = transition_in(&mut tx, Mover::Control, &fulfilled, &[], None).await?;
    moved.unlocked.extend(&further.unlocked);
    moved.unlock(&mut tx, &wanted).await?;
    tx.commit().await?;
    super::tell(store, &fulfilled, &further);
    if wishes.iter().any(|(_, wish)| matches!(wish, Wish::Offer(_))) {
        // Those that it was offered to look for it then.
        store.hints.send(Hint::Route);
    }
    Ok(moved)
}

async fn note(
    tx: &mut PgConnection,
    wish: &Wish,
    infos: &HashMap<SessionKey, Arc<SessionInfo>>,
) -> sqlx::Result<Option<Move>> {
    match wish {
        Wish::Approval(new) => approvals::ask(tx, new).await.map(|()| None),
        Wish::Signal { row, name } => match infos.get(&row.0.session) {
            Some(info) => signals::wait(tx, info, *row, name).await,
            None => Ok(None),
        },
        Wish::Budget { row: (task, node, _) } => match infos.get(&task.session) {
            Some(info) => budgets::ask(tx, info, *task, *node).await.map(|()| None),
            None => Ok(None),
        },
        Wish::Offer(offer) => offers::make(tx, offer).await.map(Some),
        Wish::Locks(_) => Ok(None),
    }
}
