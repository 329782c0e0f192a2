//! Conversations with agents as people read them: lines of JSON from a log, in any pieces, become
//! text. It does not know where the pieces come from.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::output::{plain, printable};

/// How much of a tool's input and output is shown.
const INPUT_CHARS_MAX: usize = 300;
const OUTPUT_LINES_MAX: usize = 30;

/// The conversations of some attempts, each with the line that is not complete yet.
#[derive(Debug, Default)]
pub struct Transcripts {
    pending: HashMap<(String, i64), Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    line: String,
    /// The text that is being told; its pieces go on in one line.
    part: Option<String>,
}

impl Transcripts {
    /// What a piece of the log of this attempt adds.
    pub fn push(&mut self, attempt: (String, i64), piece: &str) -> String {
        let pending = self.pending.entry(attempt).or_default();
        pending.line.push_str(piece);
        let mut told = String::new();
        while let Some((line, rest)) = pending.line.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            pending.line = rest;
            match serde_json::from_str(&line) {
                Ok(entry) => pending.tell(&entry, &mut told),
                // The middle of a long log is dropped, which cuts lines.
                Err(_) => {
                    let _ = writeln!(told, "{}", plain(&line));
                }
            }
        }
        told
    }
}

impl Pending {
    fn tell(&mut self, entry: &Value, told: &mut String) {
        let word = |name: &str| entry[name].as_str().unwrap_or_default();
        let kind = word("kind");
        if matches!(kind, "text" | "thought") {
            let part = word("part");
            if self.part.as_deref() != Some(part) {
                self.end_part(told);
                told.push_str(if kind == "thought" { "(thinks) " } else { "" });
                self.part = Some(part.to_owned());
            }
            told.push_str(&printable(word("text")));
            return;
        }
        self.end_part(told);
        let _ = match kind {
            "prompt" => writeln!(told, "[{}] {}", plain(word("from")), printable(word("text"))),
            "tool_started" => {
                writeln!(told, "> {} {}", plain(word("tool")), input(&entry["input"]))
            }
            "tool" => {
                let how = if entry["ok"] == true { "" } else { " failed" };
                let ms = entry["ms"].as_u64().unwrap_or_default();
                let _ = writeln!(told, "< {}{how} after {ms} ms", plain(word("tool")));
                told.push_str(&indented(word("output")));
                Ok(())
            }
            "step" => {
                let count = |name: &str| entry["spend"][name].as_u64().unwrap_or_default();
                let tokens = count("input_tokens") + count("output_tokens");
                let usd = entry["spend"]["cost_usd"].as_f64().unwrap_or_default();
                writeln!(told, "= {} steps, {tokens} tokens, {usd:.4} USD", count("steps"))
            }
            "ask" => writeln!(told, "? {}", plain(word("about"))),
            "answer" => writeln!(told, "! answered: {}", printable(word("answer"))),
            "retrying" => writeln!(told, "! the model does not answer: {}", plain(word("why"))),
            "note" => writeln!(told, "! {}", printable(word("text"))),
            _ => Ok(()),
        };
    }

    fn end_part(&mut self, told: &mut String) {
        if self.part.take().is_some() {
            told.push('\n');
        }
    }
}

/// The one thing that says most: a command, a path; else everything, shortened.
fn input(input: &Value) -> String {
    let telling = ["command", "filePath", "path", "pattern", "url", "description"];
    let found = telling.into_iter().find_map(|name| input[name].as_str());
    let text = found.map_or_else(|| input.to_string(), str::to_owned);
    let line = text.split('\n').next().unwrap_or_default();
    let short: String = line.chars().take(INPUT_CHARS_MAX).collect();
    let is_cut = short.len() < text.len();
    format!("{}{}", plain(&short), if is_cut { " …" } else { "" })
}

fn indented(output: &str) -> String {
    let mut text = String::new();
    for line in output.lines().take(OUTPUT_LINES_MAX) {
        let _ = writeln!(text, "    {}", plain(line));
    }
    let more = output.lines().count().saturating_sub(OUTPUT_LINES_MAX);
    if more > 0 {
        let _ = writeln!(text, "    … {more} more lines (--json has them)");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_conversation_reads_as_text_whatever_its_pieces() {
        let entries = [
            json!({ "kind": "prompt", "from": "workflow", "text": "do it" }),
            json!({ "kind": "tool_started", "tool": "bash", "input": { "command": "ls\nx" } }),
            json!({ "kind": "tool", "tool": "bash", "output": "a\nb", "ok": true, "ms": 7 }),
            json!({ "kind": "text", "part": "p", "text": "All " }),
            json!({ "kind": "text", "part": "p", "text": "done" }),
            json!({ "kind": "step", "spend": { "steps": 2, "input_tokens": 9, "cost_usd": 0.5 } }),
            json!({ "kind": "note", "text": "told to stop" }),
        ];
        let log = entries.map(|entry| entry.to_string() + "\n").concat();
        let expected = "[workflow] do it\n> bash ls …\n< bash after 7 ms\n    a\n    b\nAll done\n\
                        = 2 steps, 9 tokens, 0.5000 USD\n! told to stop\n";
        for size in [5, 1_000] {
            let mut transcripts = Transcripts::default();
            let chars: Vec<char> = log.chars().collect();
            let told: String = chars
                .chunks(size)
                .map(|piece| transcripts.push(("a".into(), 1), &piece.iter().collect::<String>()))
                .collect();
            assert_eq!(told, expected);
        }
    }
}
