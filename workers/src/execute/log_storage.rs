//! Stores a log as it is written. It holds a connection for the moments of a statement only, and
//! outlasts an outage of the database: nothing is lost that the log itself still holds.

use std::time::Duration;

use jobshop_engine::{
    id::Fence,
    store::{
        Store,
        logs::{self, NewChunk},
    },
};

use super::log::LogChunks;

/// What one statement carries, so that it stays below a few MiB.
const CHUNKS_PER_STATEMENT: usize = 32;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Stores everything that comes out of `chunks`; ends when the log is complete and stored. While
/// the database is away it tries again for ever, so drop it when the attempt is lost.
pub async fn keep(store: &Store, fence: Fence, mut chunks: LogChunks) {
    while let Some(batch) = chunks.next().await {
        let mut rest = batch.into_iter().map(|it| NewChunk {
            chunk: it.chunk,
            stream: it.stream.code(),
            body: it.body,
        });
        loop {
            let piece: Vec<_> = rest.by_ref().take(CHUNKS_PER_STATEMENT).collect();
            if piece.is_empty() {
                break;
            }
            append(store, fence, &piece).await;
        }
    }
}

async fn append(store: &Store, fence: Fence, chunks: &[NewChunk]) {
    let mut delay = RETRY_FIRST;
    while let Err(error) = logs::append(&store.pool, fence, chunks).await {
        tracing::warn!(%error, fence = %fence, "cannot store a log yet");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}
