//! Text that is not YAML: what to say about it, and templates that would be if they had quotes.

use std::ops::Range;

use super::{Limits, problem::Problems};

/// Says why the text is not YAML from byte `at` on.
pub(super) fn refuse(
    source: &str,
    at: usize,
    info: &str,
    limits: &Limits,
    problems: &mut Problems,
) {
    if info.contains("recursion limit") {
        problems.add(at, format!("nested deeper than {} levels", limits.depth));
        return;
    }
    if info.contains("tab")
        && let Some(tab) = tab_indent(source, at)
    {
        problems.hint(tab, "this is not YAML: a tab indents this line", "indent with spaces");
        return;
    }
    let message = format!("this is not YAML: {info}");
    let hint = line(source, at)
        .1
        .contains("{{")
        .then(|| "put quotes around a value that holds `${{ }}`".to_owned());
    problems.maybe(at, message, hint);
}

/// The template without quotes on the line of byte `at`, the nearest before it if there are several.
pub(super) fn bare_template(source: &str, at: usize) -> Option<Range<usize>> {
    let (start, line) = line(source, at);
    let mut found: Option<Range<usize>> = None;
    let mut from = 0;
    while let Some(open) = line[from..].find("{{").map(|open| from + open) {
        let end = open + line[open..].find("}}")? + 2;
        let first = if line[..open].ends_with('$') { open - 1 } else { open };
        from = end;
        if is_quoted(&line[..first]) {
            continue;
        }
        let range = start + first..start + end;
        if found.is_some() && range.start > at {
            break;
        }
        found = Some(range);
    }
    found
}

/// Whether a quote is open at the end of the text.
fn is_quoted(text: &str) -> bool {
    let mut open = None;
    for c in text.chars() {
        match open {
            None if matches!(c, '"' | '\'') => open = Some(c),
            Some(quote) if quote == c => open = None,
            _ => {}
        }
    }
    open.is_some()
}

/// The line of byte `at` and where it starts.
fn line(source: &str, at: usize) -> (usize, &str) {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    let start = source[..at].rfind('\n').map_or(0, |end| end + 1);
    (start, source[start..].lines().next().unwrap_or_default())
}

/// The first tab that indents a line, from the line of byte `at` on.
fn tab_indent(source: &str, at: usize) -> Option<usize> {
    let (mut start, _) = line(source, at);
    for line in source[start..].split('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t') {
            return Some(start + tab);
        }
        start += line.len() + 1;
    }
    None
}
