//! A conversation as the list of its events. Taken from a server piece by piece as it grows, and
//! replayed into another server, in another directory, it is the same conversation.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Read as _, Write as _},
};

use anyhow::Context as _;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jobshop_engine::checkpoint::Resume;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::server::Server;
use crate::execute::{
    agent::Setting,
    halt::{Done, Halt},
};

/// A piece of history unpacked is no longer than this: whoever wrote it was an agent's server.
const PIECE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is known of the conversations of a server.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By conversation the number of the last event.
    last: BTreeMap<String, u64>,
    /// Known and not taken yet.
    fresh: Vec<Value>,
    /// Known before, by another server.
    replayed: Vec<Value>,
    last_ms: u64,
}

/// A piece as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    /// The workspace whose path stands in the events.
    directory: String,
    events: Vec<Value>,
}

impl History {
    /// Events of earlier servers.
    pub(super) fn known(&self) -> impl Iterator<Item = &Value> {
        self.replayed.iter()
    }

    /// When the latest message was made, in milliseconds since 1970.
    pub(super) fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// The events since the last call of this or [`Self::take`].
    pub(super) async fn missed(&mut self, server: &mut Server) -> Done<Vec<Value>> {
        let known: Map<String, Value> =
            self.last.iter().map(|(id, seq)| (id.clone(), json!(seq))).collect();
        let answer = server.post("/sync/history", &Value::Object(known)).await?;
        let Value::Array(events) = answer else {
            return Err(Halt::error("opencode's history is no list"));
        };
        for event in &events {
            self.note(event);
        }
        self.fresh.extend(events.iter().cloned());
        Ok(events)
    }

    /// Everything since the last call, packed.
    pub(super) async fn take(
        &mut self,
        server: &mut Server,
        setting: Setting<'_>,
    ) -> Done<Option<Vec<u8>>> {
        self.missed(server).await?;
        let mut events = std::mem::take(&mut self.fresh);
        if !self.replayed.is_empty() {
            // The first piece of a conversation that was taken up here holds all of it.
            let mut all = std::mem::take(&mut self.replayed);
            all.append(&mut events);
            events = all;
        }
        if events.is_empty() {
            return Ok(None);
        }
        let directory = setting.directory.workspace().display().to_string();
        Ok(Some(Piece { directory, events }.pack()?))
    }

    /// Takes in what an earlier server of this attempt left in the home that this one found. All of it
    /// is part of the next piece: what was taken before is not known any more.
    pub(super) async fn take_in(&mut self, server: &mut Server) -> Done<()> {
        self.replayed = self.missed(server).await?;
        self.fresh.clear();
        Ok(())
    }

    /// Plays the events of a conversation into a server, as if they had happened there.
    pub(super) async fn replay(&mut self, server: &mut Server, resume: &Resume) -> Done<()> {
        let here = server.directory().to_owned();
        let mut seen = HashSet::new();
        for bytes in &resume.history {
            let piece = Piece::unpack(bytes)?;
            let events = serde_json::to_string(&piece.events).context("a history")?;
            let moved = moved(&events, &piece.directory, &here);
            let events: Vec<Value> = serde_json::from_str(&moved).context("a history")?;
            // A server that was started again told everything again.
            let fresh = events.into_iter().filter(|event| seen.insert(event["id"].to_string()));
            self.replayed.extend(fresh);
        }
        let mut by_session: Vec<(String, Vec<Value>)> = Vec::new();
        for event in &self.replayed {
            let id = event["aggregate_id"].as_str().unwrap_or_default();
            let event = json!({
                "id": event["id"], "aggregateID": id, "seq": event["seq"],
                "type": event["type"], "data": event["data"],
            });
            match by_session.iter_mut().find(|(session, _)| session == id) {
                Some((_, events)) => events.push(event),
                None => by_session.push((id.to_owned(), vec![event])),
            }
        }
        for (_, events) in by_session {
            let body = json!({ "directory": here, "events": events });
            server.post("/sync/replay", &body).await?;
        }
        for event in self.replayed.clone() {
            self.note(&event);
        }
        Ok(())
    }

    fn note(&mut self, event: &Value) {
        let id = event["aggregate_id"].as_str().unwrap_or_default().to_owned();
        let seq = event["seq"].as_u64().unwrap_or_default();
        let last = self.last.entry(id).or_default();
        *last = (*last).max(seq);
        let made = event.pointer("/data/info/time/created").and_then(Value::as_u64);
        self.last_ms = self.last_ms.max(made.unwrap_or_default());
    }
}

impl Piece {
    fn pack(&self) -> Done<Vec<u8>> {
        let text = serde_json::to_vec(self).context("packing a history")?;
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&text).context("packing a history")?;
        Ok(packer.finish().context("packing a history")?)
    }

    fn unpack(bytes: &[u8]) -> Done<Self> {
        let mut text = Vec::new();
        let reader = GzDecoder::new(bytes).take(PIECE_BYTES_MAX);
        { reader }.read_to_end(&mut text).context("unpacking a history")?;
        Ok(serde_json::from_slice(&text).context("unpacking a history")?)
    }
}

/// The events with the path of another workspace instead of the one they happened in.
fn moved(events: &str, from: &str, to: &str) -> String {
    let quoted = |path: &str| {
        let text = json!(path).to_string();
        text[1..text.len() - 1].to_owned()
    };
    events.replace(&quoted(from), &quoted(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_read_as_it_was_written() {
        let events = vec![json!({ "seq": 0, "data": { "text": "ä".repeat(1_000) } })];
        let piece = Piece { directory: "/a".to_owned(), events: events.clone() };
        let packed = piece.pack().unwrap();
        assert!(packed.len() < 500);
        assert_eq!(Piece::unpack(&packed).unwrap().events, events);
        assert!(Piece::unpack(b"nonsense").is_err());
    }

    #[test]
    fn paths_of_the_workspace_move_with_the_conversation() {
        let events = json!([{ "directory": "/a/work", "command": "cat /a/work/x" }]).to_string();
        let moved = moved(&events, "/a/work", "/b/work");
        assert_eq!(
            serde_json::from_str::<Value>(&moved).unwrap(),
            json!([{ "directory": "/b/work", "command": "cat /b/work/x" }])
        );
    }
}
