//! What is said in a conversation, as lines of JSON in the attempt's log: pieces of text gathered,
//! tools with what went in and came out. It does not know who reads it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::AgentEvent;
use crate::execute::log::{LogWriter, Stream};

/// How long a piece of text waits for the next one.
const GATHER: Duration = Duration::from_millis(700);
const PIECE_BYTES_MAX: usize = 8 * 1024;
/// What is kept of a tool's output.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;

/// The writing end of a transcript.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    log: &'a LogWriter,
    piece: Option<Piece>,
}

/// Text of one part that is not written yet.
#[derive(Debug)]
struct Piece {
    part: String,
    is_thought: bool,
    text: String,
    since: Instant,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(log: &'a LogWriter) -> Self {
        Self { log, piece: None }
    }

    /// What is said to the agent, and by whom.
    pub(super) fn prompt(&mut self, from: &str, text: &str) {
        self.write(&json!({ "kind": "prompt", "from": from, "text": text }));
    }

    /// Jobshop's own word on the turn.
    pub(super) fn note(&mut self, text: &str) {
        self.write(&json!({ "kind": "note", "text": text }));
    }

    /// What is answered to what the agent asks.
    pub(super) fn answer(&mut self, ask: &str, text: &str) {
        self.write(&json!({ "kind": "answer", "ask": ask, "answer": text }));
    }

    pub(super) fn event(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Alive | AgentEvent::Wrote { .. } | AgentEvent::Failed(_) => {}
            AgentEvent::Text { part, text, is_thought } => self.gather(part, text, *is_thought),
            AgentEvent::ToolStarted { call, tool, input } => self.write(&json!({
                "kind": "tool_started", "call": call, "tool": tool, "input": input,
            })),
            AgentEvent::ToolFinished { call, tool, input, output, ok, ms } => {
                self.write(&json!({
                    "kind": "tool", "call": call, "tool": tool, "input": input,
                    "output": shortened(output), "ok": ok, "ms": ms,
                }));
            }
            AgentEvent::Step { spend } => {
                self.write(&json!({ "kind": "step", "spend": spend }));
            }
            AgentEvent::Ask { id, question } => {
                self.write(&json!({ "kind": "ask", "ask": id, "about": question.message() }));
            }
            AgentEvent::Retrying { why }
            | AgentEvent::Throttled { why, .. }
            | AgentEvent::Refused { why, .. } => {
                self.write(&json!({ "kind": "retrying", "why": why }));
            }
            AgentEvent::TurnEnded { .. } => self.flush(),
        }
    }

    /// Writes the text that has waited long enough.
    pub(super) fn flush_due(&mut self) {
        if self.piece.as_ref().is_some_and(|piece| piece.since.elapsed() >= GATHER) {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let Some(piece) = self.piece.take() else { return };
        let kind = if piece.is_thought { "thought" } else { "text" };
        self.line(&json!({ "kind": kind, "part": piece.part, "text": piece.text }));
    }

    fn gather(&mut self, part: &str, text: &str, is_thought: bool) {
        if self.piece.as_ref().is_some_and(|piece| piece.part != part) {
            self.flush();
        }
        let piece = self.piece.get_or_insert_with(|| Piece {
            part: part.to_owned(),
            is_thought,
            text: String::new(),
            since: Instant::now(),
        });
        piece.text.push_str(text);
        if piece.text.len() >= PIECE_BYTES_MAX {
            self.flush();
        }
    }

    fn write(&mut self, entry: &Value) {
        self.flush();
        self.line(entry);
    }

    fn line(&self, entry: &Value) {
        self.log.bytes(Stream::Transcript, format!("{entry}\n").as_bytes());
    }
}

/// The beginning and the end of a long output.
fn shortened(output: &str) -> String {
    if output.len() <= OUTPUT_BYTES_MAX {
        return output.to_owned();
    }
    let head = output.floor_char_boundary(OUTPUT_BYTES_MAX / 2);
    let tail = output.ceil_char_boundary(output.len() - OUTPUT_BYTES_MAX / 2);
    let dropped = tail - head;
    format!("{}\n[… {dropped} bytes dropped …]\n{}", &output[..head], &output[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_of_one_text_become_one_line() {
        let (log, mut chunks) = LogWriter::new(1 << 20);
        let mut transcript = Transcript::new(&log);
        for text in ["All ", "is ", "done"] {
            let (part, is_thought) = ("p".to_owned(), false);
            transcript.event(&AgentEvent::Text { part, text: text.to_owned(), is_thought });
        }
        transcript.note("the end");
        drop(log);
        let text: Vec<u8> =
            chunks.next().await.unwrap().into_iter().flat_map(|it| it.body).collect();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"kind\":\"text\",\"part\":\"p\",\"text\":\"All is done\"}\n\
             {\"kind\":\"note\",\"text\":\"the end\"}\n"
        );
    }

    #[test]
    fn a_long_output_keeps_its_ends() {
        let long = format!("begin{}end", "ä".repeat(OUTPUT_BYTES_MAX));
        let short = shortened(&long);
        assert!(short.starts_with("begin") && short.ends_with("end") && short.contains("dropped"));
        assert!(short.len() < OUTPUT_BYTES_MAX + 100);
    }
}
