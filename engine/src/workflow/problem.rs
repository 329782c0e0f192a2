//! What is wrong with a workflow, and where. It does not know the language: whoever finds a problem
//! words it.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

/// One problem of a workflow's text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl Problem {
    /// The problem as a person reads it: where, what, the line of `source` with a caret below, and
    /// the hint.
    pub fn render(&self, file: &str, source: &str) -> String {
        let mut text = format!(
            "{file}:{}:{}: {}\n{}",
            self.line,
            self.column,
            self.message,
            self.snippet(source)
        );
        if let Some(hint) = &self.hint {
            text.push_str("   hint: ");
            text.push_str(hint);
            text.push('\n');
        }
        text
    }

    /// The line of `source` with a caret below the column; empty when `source` has no such line.
    pub fn snippet(&self, source: &str) -> String {
        const WIDTH_MAX: usize = 160;
        let Some(line) = source.lines().nth(self.line.saturating_sub(1)) else {
            return String::new();
        };
        let shown: String =
            line.chars().take(WIDTH_MAX).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let caret = " ".repeat(self.column.saturating_sub(1).min(WIDTH_MAX));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        format!(" {number} | {shown}\n {margin} | {caret}^\n")
    }
}

/// Collects problems by byte offset; [`Problems::finish`] turns offsets into lines and columns.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<(usize, String, Option<String>)>,
    places: HashSet<usize>,
}

/// More problems than this are not worth reading.
const PROBLEMS_MAX: usize = 1_000;

impl Problems {
    pub fn add(&mut self, at: usize, message: impl Into<String>) {
        self.maybe(at, message, None);
    }

    pub fn hint(&mut self, at: usize, message: impl Into<String>, hint: impl Into<String>) {
        self.maybe(at, message, Some(hint.into()));
    }

    /// Adds with a hint where there is one.
    pub fn maybe(&mut self, at: usize, message: impl Into<String>, hint: Option<String>) {
        self.places.insert(at);
        self.found.push((at, message.into(), hint));
    }

    /// Adds unless something was found at this offset already: a template without quotes is one
    /// problem, not also one of types.
    pub fn unless_known(&mut self, at: usize, message: impl Into<String>, hint: Option<String>) {
        if !self.has(at) {
            self.maybe(at, message, hint);
        }
    }

    pub const fn count(&self) -> usize {
        self.found.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether something was found at this offset already.
    pub fn has(&self, at: usize) -> bool {
        self.places.contains(&at)
    }

    /// Whether more problems would not be shown: then looking for more is not worth the time.
    pub const fn is_full(&self) -> bool {
        self.found.len() > PROBLEMS_MAX
    }

    /// All problems in the order of the text, without repetition.
    pub fn finish(self, source: &str) -> Vec<Problem> {
        let lines = Lines::new(source);
        let mut problems: Vec<Problem> = self
            .found
            .into_iter()
            .map(|(at, message, hint)| {
                let (line, column) = lines.position(at);
                Problem { line, column, message, hint }
            })
            .collect();
        problems.sort();
        problems.dedup();
        problems.truncate(PROBLEMS_MAX);
        problems
    }
}

/// Where the lines of a text start.
#[derive(Debug)]
pub struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    pub fn new(source: &'s str) -> Self {
        let starts = std::iter::once(0)
            .chain(source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        Self { source, starts }
    }

    /// Line and column of a byte offset, both from 1.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let mut at = at.min(self.source.len());
        while !self.source.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        (line, self.source[start..at].chars().count() + 1)
    }
}
