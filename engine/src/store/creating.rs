//! Sessions that are submitted while others are being written are written together, in one
//! transaction: at once when nothing is under way, gathered while something is. It does not know
//! what a session is made of.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::{
    sync::{Mutex as Turn, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use super::{session_rows::Rows, wire::Wire};

/// Sessions written in one statement.
const AT_ONCE: usize = 100;

/// Who waits for a session to be written; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Creations {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Vec<Waiting>>,
    /// Whoever has it writes for all who wait.
    turn: Turn<Option<Wire>>,
    /// A writing goes on when the client that began it leaves: others wait for it too.
    writers: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Waiting {
    rows: Rows,
    written: oneshot::Sender<sqlx::Result<DateTime<Utc>>>,
}

impl Creations {
    /// Writes the rows of one session, perhaps together with those of others. A caller that goes
    /// away takes nothing back. Returns when it was created.
    pub(super) async fn write(&self, db: &PgPool, rows: Rows) -> sqlx::Result<DateTime<Utc>> {
        let (written, answer) = oneshot::channel();
        let waiting = Waiting { rows, written };
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        self.take_turn(db);
        // Every push is followed by a turn that takes what waits.
        answer.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Gives its connection back; the next session that is written takes one again.
    pub(super) async fn rest(&self) {
        *self.inner.turn.lock().await = None;
    }

    /// Has those who wait written once it is their turn.
    fn take_turn(&self, db: &PgPool) {
        let (inner, db) = (Arc::clone(&self.inner), db.clone());
        let mut writers = self.inner.writers.lock().unwrap_or_else(PoisonError::into_inner);
        while writers.try_join_next().is_some() {}
        writers.spawn(async move {
            let mut turn = inner.turn.lock().await;
            inner.write_some(turn.get_or_insert_with(|| Wire::new(db))).await;
        });
    }
}

impl Inner {
    async fn write_some(&self, wire: &mut Wire) {
        let mut some = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let at = waiting.len().min(AT_ONCE);
            let rest = waiting.split_off(at);
            mem::replace(&mut *waiting, rest)
        };
        if some.len() > 1 {
            let mut all = Rows::default();
            for one in &some {
                all.append(&one.rows);
            }
            match insert(wire, &all).await {
                Ok(times) => {
                    return some.into_iter().for_each(|one| one.tell_of(&times));
                }
                // One of them is refused, and with it all: each is tried by itself.
                Err(sqlx::Error::Database(_)) => {}
                Err(error) => {
                    // Nobody knows whether they were written.
                    let text = error.to_string();
                    for one in some {
                        let kind = std::io::ErrorKind::ConnectionAborted;
                        one.tell(Err(sqlx::Error::Io(std::io::Error::new(kind, text.clone()))));
                    }
                    return;
                }
            }
        }
        for one in some.drain(..) {
            match insert(wire, &one.rows).await {
                Ok(times) => one.tell_of(&times),
                Err(error) => one.tell(Err(error)),
            }
        }
    }
}

async fn insert(wire: &mut Wire, rows: &Rows) -> sqlx::Result<HashMap<Uuid, DateTime<Utc>>> {
    let mut connection = wire.connection().await?;
    let times = rows.insert(&mut *connection).await?;
    connection.keep();
    Ok(times)
}

impl Waiting {
    fn tell_of(self, times: &HashMap<Uuid, DateTime<Utc>>) {
        let at = self.rows.ids.first().and_then(|id| times.get(id)).copied();
        self.tell(at.ok_or(sqlx::Error::RowNotFound));
    }

    fn tell(self, written: sqlx::Result<DateTime<Utc>>) {
        // Who went away needs no answer.
        let _ = self.written.send(written);
    }
}
