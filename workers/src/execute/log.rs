//! What an attempt prints, on its way to storage: gathered into chunks, bounded, the middle dropped
//! and said. Writing never waits, so a slow database holds no command up, and whoever executes
//! holds no connection. It does not know where the chunks go: whoever takes them stores them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// No chunk is longer.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// How long the first byte of a chunk waits for company.
const GATHER: Duration = Duration::from_millis(200);

/// Runs of one stream per batch; beyond it the streams are no longer told apart line by line, so
/// that a command which alternates between them does not make a row of every line.
const RUNS_MAX: usize = 32;

/// Where a piece of a log comes from; the number is the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout = 0,
    Stderr = 1,
    /// Jobshop itself.
    System = 2,
    /// What is said in a conversation with an agent: a JSON object a line.
    Transcript = 3,
}

impl Stream {
    pub const fn code(self) -> i16 {
        self as i16
    }
}

/// A piece of an attempt's log, numbered from 0 without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    pub chunk: i32,
    pub stream: Stream,
    pub body: Vec<u8>,
}

/// The writing end: the log of one attempt. The log is complete when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct LogWriter {
    end: Arc<WritingEnd>,
}

/// The taking end: there is one, so a stream has a single writer in storage.
#[derive(Debug)]
pub struct LogChunks {
    shared: Arc<Shared>,
    next: i32,
}

#[derive(Debug)]
struct WritingEnd {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    changed: Notify,
}

/// Keeps the first half of what is allowed flowing and the last half back, until the log is
/// complete: what falls out in between is counted.
#[derive(Debug)]
struct Buffer {
    ready: VecDeque<Run>,
    ready_bytes: usize,
    since: Option<Instant>,
    head_bytes_left: usize,
    tail: VecDeque<Run>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    dropped: u64,
    is_complete: bool,
}

#[derive(Debug)]
struct Run {
    stream: Stream,
    body: Vec<u8>,
}

impl LogWriter {
    /// A log of at most `bytes_max`, and the end where its chunks are taken.
    pub fn new(bytes_max: usize) -> (Self, LogChunks) {
        let buffer = Buffer {
            ready: VecDeque::new(),
            ready_bytes: 0,
            since: None,
            head_bytes_left: bytes_max / 2,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max: bytes_max / 2,
            dropped: 0,
            is_complete: false,
        };
        let shared = Arc::new(Shared { buffer: Mutex::new(buffer), changed: Notify::new() });
        let end = Arc::new(WritingEnd { shared: Arc::clone(&shared) });
        (Self { end }, LogChunks { shared, next: 0 })
    }

    pub fn bytes(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end.shared.lock().push(stream, bytes);
        self.end.shared.changed.notify_one();
    }

    /// Writes a line of Jobshop's own.
    pub fn note(&self, text: &str) {
        self.bytes(Stream::System, format!("{text}\n").as_bytes());
    }
}

impl Drop for WritingEnd {
    fn drop(&mut self) {
        self.shared.lock().complete();
        self.shared.changed.notify_one();
    }
}

impl LogChunks {
    /// The next chunks, as soon as there are 64 KiB or the oldest byte has waited 200 ms; `None`
    /// once the log is complete and taken. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<LogChunk>> {
        loop {
            let due = match self.shared.lock().wants() {
                Wants::Taking => break,
                Wants::Nothing => return None,
                Wants::Waiting(due) => due,
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.shared.changed.notified()).await;
                }
                None => self.shared.changed.notified().await,
            }
        }
        let runs = self.shared.lock().take();
        Some(runs.into_iter().map(|run| self.number(run)).collect())
    }

    fn number(&mut self, run: Run) -> LogChunk {
        let chunk = self.next;
        self.next += 1;
        LogChunk { chunk, stream: run.stream, body: run.body }
    }
}

enum Wants {
    Taking,
    Waiting(Option<Instant>),
    Nothing,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let (head, tail) = bytes.split_at(bytes.len().min(self.head_bytes_left));
        self.head_bytes_left -= head.len();
        self.push_ready(stream, head);
        if !tail.is_empty() {
            // Whoever filled the first half gets no second one, however short a later piece is.
            self.head_bytes_left = 0;
            self.push_tail(stream, tail);
        }
    }

    fn push_ready(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.since.get_or_insert_with(Instant::now);
        self.ready_bytes += bytes.len();
        append(&mut self.ready, stream, bytes);
    }

    fn push_tail(&mut self, stream: Stream, bytes: &[u8]) {
        self.tail_bytes += bytes.len();
        append(&mut self.tail, stream, bytes);
        while self.tail_bytes > self.tail_bytes_max {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.body.len();
            self.dropped += oldest.body.len() as u64;
        }
    }

    fn complete(&mut self) {
        if self.dropped > 0 {
            let said = format!("\n[… {} bytes dropped …]\n", self.dropped);
            self.ready.push_back(Run { stream: Stream::System, body: said.into_bytes() });
        }
        self.ready.append(&mut self.tail);
        self.is_complete = true;
    }

    fn wants(&self) -> Wants {
        match (self.is_complete, self.since) {
            (true, _) if self.ready.is_empty() => Wants::Nothing,
            (true, _) => Wants::Taking,
            (false, None) => Wants::Waiting(None),
            (false, Some(since)) => {
                let due = since + GATHER;
                let is_due = self.ready_bytes >= CHUNK_BYTES_MAX || due <= Instant::now();
                if is_due { Wants::Taking } else { Wants::Waiting(Some(due)) }
            }
        }
    }

    fn take(&mut self) -> VecDeque<Run> {
        self.since = None;
        self.ready_bytes = 0;
        std::mem::take(&mut self.ready)
    }
}

/// Adds bytes to the newest run of their stream, starting runs as streams alternate and chunks
/// fill.
fn append(runs: &mut VecDeque<Run>, stream: Stream, bytes: &[u8]) {
    let is_same = |run: &&mut Run| run.stream == stream;
    let newest = if runs.len() < RUNS_MAX {
        runs.back_mut().filter(is_same)
    } else {
        runs.iter_mut().rev().take(RUNS_MAX).find(is_same)
    };
    let mut rest = bytes;
    if let Some(run) = newest {
        let room = CHUNK_BYTES_MAX.saturating_sub(run.body.len()).min(rest.len());
        run.body.extend_from_slice(&rest[..room]);
        rest = &rest[room..];
    }
    for piece in rest.chunks(CHUNK_BYTES_MAX) {
        runs.push_back(Run { stream, body: piece.to_vec() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut chunks: LogChunks) -> Vec<LogChunk> {
        let mut taken = Vec::new();
        while let Some(mut batch) = chunks.next().await {
            taken.append(&mut batch);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_company_and_leave_in_order() {
        let (log, mut chunks) = LogWriter::new(1 << 20);
        log.bytes(Stream::Stdout, b"one\n");
        log.bytes(Stream::Stdout, b"two\n");
        log.bytes(Stream::Stderr, b"three\n");
        let batch = chunks.next().await.unwrap();
        let bodies: Vec<_> = batch.iter().map(|it| (it.chunk, it.stream, &it.body[..])).collect();
        assert_eq!(
            bodies,
            [(0, Stream::Stdout, &b"one\ntwo\n"[..]), (1, Stream::Stderr, &b"three\n"[..])]
        );
        log.note("four");
        drop(log);
        assert_eq!(chunks.next().await.unwrap()[0].chunk, 2);
        assert_eq!(chunks.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_log_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
        let (log, chunks) = LogWriter::new(400_000);
        log.bytes(Stream::Stdout, b"begin");
        for _ in 0..1_000 {
            log.bytes(Stream::Stdout, &[b'x'; 1_000]);
        }
        log.bytes(Stream::Stdout, b"end");
        drop(log);
        let taken = all(chunks).await;
        assert!(taken.iter().all(|it| it.body.len() <= CHUNK_BYTES_MAX));
        let numbers: Vec<_> = taken.iter().map(|it| it.chunk).collect();
        assert!(numbers.iter().copied().eq(0..i32::try_from(numbers.len()).unwrap()));
        let text: Vec<u8> = taken.iter().flat_map(|it| it.body.clone()).collect();
        let said = taken.iter().find(|it| it.stream == Stream::System).unwrap();
        let said = String::from_utf8(said.body.clone()).unwrap();
        let dropped: usize = said.split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert_eq!(text.len() - said.len() + dropped, 1_000_008);
        assert!(text.starts_with(b"begin") && text.ends_with(b"end"));
        assert!(text.len() <= 400_000 + said.len());
    }

    #[tokio::test(start_paused = true)]
    async fn alternating_streams_do_not_make_a_chunk_of_every_line() {
        let (log, chunks) = LogWriter::new(1 << 20);
        for _ in 0..5_000 {
            log.bytes(Stream::Stdout, b"out\n");
            log.bytes(Stream::Stderr, b"err\n");
        }
        drop(log);
        assert!(all(chunks).await.len() <= RUNS_MAX + 2);
    }
}
