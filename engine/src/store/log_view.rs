//! The logs of attempts as users read them: pieces of text, of one task or of a whole session, to
//! be read again from where the last page ended for as long as they grow.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{Page, ReadError, Views, bytes_of_cursor, to_cursor};
use crate::id::SessionKey;

/// A piece of what an attempt wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogObject {
    /// The key of the task.
    pub task: String,
    pub attempt: i32,
    pub stream: LogStream,
    pub at: DateTime<Utc>,
    /// What is not UTF-8 is shown as U+FFFD.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
    /// Jobshop itself.
    System,
    /// A conversation with an agent: a JSON object a line, its `kind` saying what it tells of.
    Transcript,
}

/// Whose log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOf {
    /// A task by its number: attempt by attempt, or one of them.
    Task { seq: i32, attempt: Option<i32> },
    /// All tasks, in the order of time.
    Session,
}

/// Pieces of a page, unless they are large.
const PIECES_MAX: i64 = 500;
/// A page ends with the piece that goes beyond this.
const PAGE_BYTES_MAX: i64 = 2 * 1024 * 1024;
/// Pieces of different tasks are not shown in the order of time before they are this old: one with
/// an earlier time may still be on its way.
const SETTLED_AFTER_SECS: f64 = 1.0;

impl Views {
    /// A page of a log. `next` is where to go on, and null only where nothing more is there yet.
    pub async fn log(
        &self,
        session: SessionKey,
        of: LogOf,
        cursor: Option<&str>,
    ) -> Result<Page<LogObject>, ReadError> {
        let pieces = match of {
            LogOf::Task { seq, attempt } => self.task_pieces(session, seq, attempt, cursor).await?,
            LogOf::Session => self.session_pieces(session, cursor).await?,
        };
        let next = pieces.last().map(|piece| match of {
            LogOf::Task { .. } => to_cursor(&piece.place().to_bytes()),
            LogOf::Session => to_cursor(&piece.moment().to_bytes()),
        });
        let plan = &self.version_of(session).await?.plan;
        let paths = self.paths(session, plan, pieces.iter().map(|piece| piece.seq), []).await?;
        let texts = texts(&pieces);
        let items = pieces
            .into_iter()
            .zip(texts)
            .map(|(piece, text)| LogObject {
                task: paths.path(plan, piece.seq).unwrap_or_default(),
                attempt: piece.attempt,
                stream: piece.stream(),
                at: piece.at,
                text,
            })
            .collect();
        Ok(Page { items, next })
    }

    async fn task_pieces(
        &self,
        session: SessionKey,
        seq: i32,
        attempt: Option<i32>,
        cursor: Option<&str>,
    ) -> Result<Vec<Piece>, ReadError> {
        let after = read_cursor(cursor, Place::START, Place::from_bytes)?;
        let pieces = sqlx::query_as!(
            Piece,
            r#"select seq as "seq!", attempt as "attempt!", worker as "worker!", chunk as "chunk!",
                      stream as "stream!", at as "at!", body as "body!"
                 from (select c.*, sum(octet_length(body)) over (order by attempt, worker, chunk)
                                   - octet_length(body) as before
                         from (select seq, attempt, worker, chunk, stream, at, body
                                 from log_chunks
                                where tenant_id = $1 and session_id = $2 and seq = $3
                                  and (attempt, worker, chunk) > ($4, $5, $6)
                                  and ($7::int is null or attempt = $7)
                                order by attempt, worker, chunk
                                limit $8) c) c
                where before < $9
                order by attempt, worker, chunk"#,
            session.tenant.0,
            session.id.0,
            seq,
            after.attempt,
            after.worker,
            after.chunk,
            attempt,
            PIECES_MAX,
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        Ok(pieces)
    }

    async fn session_pieces(
        &self,
        session: SessionKey,
        cursor: Option<&str>,
    ) -> Result<Vec<Piece>, ReadError> {
        let after = read_cursor(cursor, Moment::START, Moment::from_bytes)?;
        let settled_after_secs =
            if self.is_final(session).await? { 0.0 } else { SETTLED_AFTER_SECS };
        let pieces = sqlx::query_as!(
            Piece,
            r#"select seq as "seq!", attempt as "attempt!", worker as "worker!", chunk as "chunk!",
                      stream as "stream!", at as "at!", body as "body!"
                 from (select c.*, sum(octet_length(body))
                                       over (order by at, seq, attempt, worker, chunk)
                                   - octet_length(body) as before
                         from (select seq, attempt, worker, chunk, stream, at, body
                                 from log_chunks
                                where tenant_id = $1 and session_id = $2
                                  and at >= $3
                                  and (at, seq, attempt, worker, chunk) > ($3, $4, $5, $6, $7)
                                  and at <= (select clock()) - make_interval(secs => $8)
                                order by at, seq, attempt, worker, chunk
                                limit $9) c) c
                where before < $10
                order by at, seq, attempt, worker, chunk"#,
            session.tenant.0,
            session.id.0,
            after.at,
            after.seq,
            after.place.attempt,
            after.place.worker,
            after.place.chunk,
            settled_after_secs,
            PIECES_MAX,
            PAGE_BYTES_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        Ok(pieces)
    }
}

struct Piece {
    seq: i32,
    attempt: i32,
    worker: Uuid,
    chunk: i32,
    stream: i16,
    at: DateTime<Utc>,
    body: Vec<u8>,
}

impl Piece {
    const fn stream(&self) -> LogStream {
        match self.stream {
            0 => LogStream::Stdout,
            1 => LogStream::Stderr,
            3 => LogStream::Transcript,
            _ => LogStream::System,
        }
    }

    const fn place(&self) -> Place {
        Place { attempt: self.attempt, worker: self.worker, chunk: self.chunk }
    }

    const fn moment(&self) -> Moment {
        Moment { at: self.at, seq: self.seq, place: self.place() }
    }
}

/// Where a piece stands in its task's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    attempt: i32,
    worker: Uuid,
    chunk: i32,
}

impl Place {
    const START: Self = Self { attempt: 0, worker: Uuid::nil(), chunk: -1 };

    fn to_bytes(self) -> Vec<u8> {
        let chunk = self.chunk.to_be_bytes();
        [&self.attempt.to_be_bytes()[..], self.worker.as_bytes(), &chunk].concat()
    }

    /// `None` when there are too few or too many of them.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (attempt, rest) = bytes.split_first_chunk()?;
        let (worker, chunk) = rest.split_first_chunk()?;
        Some(Self {
            attempt: i32::from_be_bytes(*attempt),
            worker: Uuid::from_bytes(*worker),
            chunk: i32::from_be_bytes(chunk.try_into().ok()?),
        })
    }
}

/// Where a piece stands in its session's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    at: DateTime<Utc>,
    seq: i32,
    place: Place,
}

impl Moment {
    const START: Self = Self { at: DateTime::UNIX_EPOCH, seq: 0, place: Place::START };

    fn to_bytes(self) -> Vec<u8> {
        let at = self.at.timestamp_micros().to_be_bytes();
        [&at[..], &self.seq.to_be_bytes(), &self.place.to_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (seq, place) = rest.split_first_chunk()?;
        Some(Self {
            at: DateTime::from_timestamp_micros(i64::from_be_bytes(*at))?,
            seq: i32::from_be_bytes(*seq),
            place: Place::from_bytes(place)?,
        })
    }
}

fn read_cursor<T>(
    cursor: Option<&str>,
    start: T,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, ReadError> {
    match cursor {
        Some(cursor) => read(&bytes_of_cursor(cursor)?).ok_or(ReadError::BadCursor),
        None => Ok(start),
    }
}

/// The pieces as text. A character that was cut between two pieces of a stream is put together and
/// shown with the second.
fn texts(pieces: &[Piece]) -> Vec<String> {
    let mut cut: HashMap<(i32, i32, LogStream), Vec<u8>> = HashMap::new();
    let source = |piece: &Piece| (piece.seq, piece.attempt, piece.stream());
    let last: HashMap<_, usize> =
        pieces.iter().enumerate().map(|(index, piece)| (source(piece), index)).collect();
    let mut texts = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let mut bytes = cut.remove(&source(piece)).unwrap_or_default();
        bytes.extend_from_slice(&piece.body);
        if last[&source(piece)] != index {
            let whole = bytes.len() - cut_bytes(&bytes);
            cut.insert(source(piece), bytes.split_off(whole));
        }
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    texts
}

/// How many bytes at the end are the beginning of a character.
fn cut_bytes(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        // An invalid end is a character cut short exactly when more could make it valid.
        Some(chunk) => match std::str::from_utf8(chunk.invalid()) {
            Err(error) if error.error_len().is_none() => chunk.invalid().len(),
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(seq: i32, stream: i16, body: &[u8]) -> Piece {
        let (attempt, worker, at) = (1, Uuid::nil(), DateTime::UNIX_EPOCH);
        Piece { seq, attempt, worker, chunk: 0, stream, at, body: body.to_vec() }
    }

    #[test]
    fn a_character_cut_between_two_pieces_is_put_together() {
        let euro = "€".as_bytes();
        let pieces = [
            piece(1, 0, &[b"a", &euro[..1]].concat()),
            piece(2, 0, b"between"),
            piece(1, 1, b"error"),
            piece(1, 0, &[&euro[1..], b"b\xff"].concat()),
            piece(1, 0, &euro[..2]),
        ];
        assert_eq!(texts(&pieces), ["a", "between", "error", "€b\u{fffd}", "\u{fffd}"]);
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let place = Place { attempt: 3, worker: Uuid::from_u128(77), chunk: 12 };
        let moment = Moment { at: DateTime::UNIX_EPOCH, seq: 9, place };
        assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
        assert_eq!(Moment::from_bytes(&moment.to_bytes()), Some(moment));
        assert_eq!(Place::from_bytes(&moment.to_bytes()), None);
        assert_eq!(Moment::from_bytes(&place.to_bytes()), None);
    }
}
