//! How lists look on a terminal and in a pipe: tables, spans of time and moments. It knows no
//! object of Jobshop.

use chrono::{DateTime, TimeDelta, Utc};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use crate::output::{Output, plain};

/// A table with the columns named, fitted to the terminal; in a pipe it is as wide as it needs.
#[derive(Debug)]
pub struct Rows {
    table: Table,
    is_coloured: bool,
}

impl Rows {
    pub fn new(output: Output, columns: &[&str]) -> Self {
        let mut rows = Self::continued(output);
        let bold = |name: &&str| Cell::new(name.to_uppercase()).add_attribute(Attribute::Bold);
        rows.table.set_header(columns.iter().map(bold));
        rows
    }

    /// More rows of a table of which the head was printed.
    pub fn continued(output: Output) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let is_fitted = output.is_terminal && has_width(table.width());
        table.set_content_arrangement(if is_fitted {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        if output.is_coloured() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        Self { table, is_coloured: output.is_coloured() }
    }

    /// Adds a row; the text may come from anybody.
    pub fn push<'a>(&mut self, cells: impl IntoIterator<Item = Text<'a>>) {
        let cell = |text: Text<'_>| match text {
            Text::Plain(text) => Cell::new(plain(text)),
            Text::Owned(text) => Cell::new(plain(&text)),
            Text::Status(status) if self.is_coloured => Cell::new(status).fg(colour(status)),
            Text::Status(status) => Cell::new(status),
        };
        self.table.add_row(cells.into_iter().map(cell));
    }

    /// Without spaces at the ends of lines.
    pub fn render(&self) -> String {
        let lines: Vec<String> =
            self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

/// Whether a terminal says how wide it is; some say 0.
fn has_width(width: Option<u16>) -> bool {
    const WIDTH_MIN: u16 = 20;
    width.is_some_and(|width| width >= WIDTH_MIN)
}

/// The text of a cell.
#[derive(Debug)]
pub enum Text<'a> {
    Plain(&'a str),
    Owned(String),
    /// The name of a status, in its colour.
    Status(&'static str),
}

fn colour(status: &str) -> Color {
    match status {
        "completed" => Color::Green,
        "failed" | "timeout" | "orphaned" => Color::Red,
        "running" | "in_progress" => Color::Cyan,
        "partially_completed" | "cancelled" | "degraded" | "blocked" => Color::Yellow,
        _ => Color::Grey,
    }
}

/// A span of time in at most two units: `250ms`, `3.4s`, `2m 05s`, `3h 07m`, `2d 4h`.
pub fn span(delta: TimeDelta) -> String {
    let ms = delta.num_milliseconds().max(0);
    let secs = ms / 1_000;
    match secs {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", secs, ms % 1_000 / 100),
        60..3_600 => format!("{}m {:02}s", secs / 60, secs % 60),
        3_600..86_400 => format!("{}h {:02}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// From `start` to `end`, or to `now` while there is no end; nothing without a start.
pub fn elapsed(
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> String {
    start.map_or_else(String::new, |start| span(end.unwrap_or(now) - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_width_gets_whole_lines() {
        assert!(!has_width(None) && !has_width(Some(0)));
        assert!(has_width(Some(80)));
    }

    #[test]
    fn spans_have_at_most_two_units() {
        for (ms, text) in [
            (-5, "0ms"),
            (250, "250ms"),
            (3_499, "3.4s"),
            (59_999, "59.9s"),
            (125_000, "2m 05s"),
            (11_220_000, "3h 07m"),
            (187_200_000, "2d 4h"),
        ] {
            assert_eq!(span(TimeDelta::milliseconds(ms)), text);
        }
    }
}
