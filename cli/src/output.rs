//! Where text goes: what was asked for to standard output, everything else to standard error.
//! It knows whether a person reads and whether JSON was asked for, and no object of Jobshop.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::exit::Failure;

/// In which form the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

/// The two streams of this process.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub form: Form,
    /// Somebody reads standard output on a terminal.
    pub is_terminal: bool,
    /// Somebody reads standard error on a terminal.
    pub is_error_terminal: bool,
    /// The environment asks for no colours.
    is_plain: bool,
}

#[expect(clippy::unused_self, reason = "who may write is given an output")]
impl Output {
    pub fn new(form: Form) -> Self {
        // A variable that is set but empty does not count: https://no-color.org.
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal();
        Self { form, is_terminal, is_error_terminal: io::stderr().is_terminal(), is_plain }
    }

    /// Whether the answer may carry colours.
    pub fn is_coloured(self) -> bool {
        self.is_terminal && !self.is_plain
    }

    /// Whether what goes to standard error may carry colours.
    pub fn is_error_coloured(self) -> bool {
        self.is_error_terminal && !self.is_plain
    }

    pub fn is_json(self) -> bool {
        self.form == Form::Json
    }

    /// Prints one JSON document; in one line when it belongs to a stream or nobody reads it.
    pub fn json(self, value: &Value) -> Result<(), Failure> {
        let text = if self.is_terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        Ok(self.line(&text.map_err(io::Error::from)?)?)
    }

    /// Prints a part of one JSON array; `is_first` begins it, and [`Self::json_array_end`] ends it.
    pub fn json_array_part(self, items: &[Value], is_first: bool) -> Result<(), Failure> {
        let mut text = String::new();
        for (index, item) in items.iter().enumerate() {
            text.push(if is_first && index == 0 { '[' } else { ',' });
            text.push_str(&serde_json::to_string(item).map_err(io::Error::from)?);
        }
        Ok(self.bytes(text.as_bytes())?)
    }

    /// Ends a JSON array of which parts were printed, or of which nothing was.
    pub fn json_array_end(self, is_empty: bool) -> Result<(), Failure> {
        Ok(self.line(if is_empty { "[]" } else { "]" })?)
    }

    /// Prints one element of a stream.
    pub fn json_line(self, value: &Value) -> Result<(), Failure> {
        Ok(self.line(&serde_json::to_string(value).map_err(io::Error::from)?)?)
    }

    /// Prints a line of the answer.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Prints bytes of the answer as they are.
    pub fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Tells the person something that is not part of the answer. Nobody there is fine.
    pub fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Tells why the command failed and what to type next.
    pub fn failure(self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let (red, reset) =
            if self.is_error_coloured() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        self.note(&format!("{red}error{reset}: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.note(&format!("  next: {hint}"));
        }
    }
}

/// Text of others on one line, without what would steer a terminal.
pub fn plain(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of others in its lines, without what would steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\t"), "a [2Jb c");
        assert_eq!(printable("a\x1b[2J\n b"), "a [2J\n b");
    }
}
