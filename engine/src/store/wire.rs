//! A connection that is kept from one statement to the next. A pool asks each connection that comes
//! back whether it is still there, which costs a round trip after every statement; whoever says one
//! statement after the other keeps its connection instead. After an error the pool has it back and
//! sees what it is worth.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

/// So often the pool sees it anyway, and may have it replaced.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// One connection of a pool, for one user. Before its pool is closed it has to be dropped.
#[derive(Debug)]
pub struct Wire {
    pool: PgPool,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

/// A connection in use. Dropped, it goes back to the pool.
#[derive(Debug)]
pub struct InUse<'a> {
    wire: &'a mut Wire,
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Wire {
    /// Connects when it is first used.
    pub const fn new(pool: PgPool) -> Self {
        Self { pool, kept: None }
    }

    /// The kept connection, or another one of the pool.
    ///
    /// # Errors
    /// As those of [`PgPool::acquire`].
    pub async fn connection(&mut self) -> sqlx::Result<InUse<'_>> {
        let kept = self.kept.take().filter(|kept| kept.since.elapsed() < KEPT_FOR);
        let Kept { connection, since } = match kept {
            Some(kept) => kept,
            None => Kept { connection: self.pool.acquire().await?, since: Instant::now() },
        };
        Ok(InUse { wire: self, connection, since })
    }
}

impl InUse<'_> {
    /// Keeps it for the next statement, after one that was answered.
    pub fn keep(self) {
        let Self { wire, connection, since } = self;
        wire.kept = Some(Kept { connection, since });
    }
}

impl Deref for InUse<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for InUse<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
