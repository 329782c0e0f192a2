//! Server-sent events: from the bytes of an answer to the JSON of its `data` lines.

use serde_json::Value;

/// No event is longer; what is has its beginning dropped, and so is no JSON and skipped.
const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What came so far of an unfinished event.
#[derive(Debug, Default)]
pub(super) struct Events {
    pending: Vec<u8>,
}

impl Events {
    /// The events that these bytes complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.pending.extend(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                events.extend(serde_json::from_slice::<Value>(data).ok());
            }
        }
        if self.pending.len() > EVENT_BYTES_MAX {
            self.pending.clear();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_any_pieces() {
        let text = "data: {\"a\":1}\n\n: comment\n\ndata:{\"b\":\"x\\ny\"}\n\ndata: broken\n\n";
        for size in [1, 3, 7, 1_000] {
            let mut events = Events::default();
            let found: Vec<Value> =
                text.as_bytes().chunks(size).flat_map(|bytes| events.push(bytes)).collect();
            assert_eq!(found, [serde_json::json!({"a": 1}), serde_json::json!({"b": "x\ny"})]);
        }
    }
}
