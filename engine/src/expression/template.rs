//! Text with `${{ }}` in it, cut into its parts. It does not evaluate anything.

use super::lexer::end_of_expression;

/// A part of a template. `at` is the byte offset in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'s> {
    Text(&'s str),
    Expression { source: &'s str, at: usize },
}

/// A `${{` that nothing closes, at this byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclosed(pub usize);

const OPEN: &str = "${{";

/// Whether `text` holds an expression at all.
pub fn has_expression(text: &str) -> bool {
    text.contains(OPEN)
}

/// The parts of a template in order.
pub fn parts(source: &str) -> Result<Vec<Part<'_>>, Unclosed> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find(OPEN) {
        let open = at + found;
        if open > at {
            parts.push(Part::Text(&source[at..open]));
        }
        let start = open + OPEN.len();
        let end = end_of_expression(source, start).ok_or(Unclosed(open))?;
        parts.push(Part::Expression { source: &source[start..end], at: start });
        at = end + 2;
    }
    if at < source.len() {
        parts.push(Part::Text(&source[at..]));
    }
    Ok(parts)
}

/// The expression of a value that is nothing but `${{ … }}`, which keeps its type. A line break
/// after it, as block text has, does not count.
pub fn lone<'s>(parts: &[Part<'s>]) -> Option<&'s str> {
    match parts {
        [Part::Expression { source, .. }] => Some(source),
        [Part::Expression { source, .. }, Part::Text(rest)]
            if rest.trim_matches('\n').is_empty() =>
        {
            Some(source)
        }
        _ => None,
    }
}

/// The expression of a `when`, with its byte offset: bare, or all of it in `${{ }}`.
pub fn condition(source: &str) -> Result<(&str, usize), Unclosed> {
    let trimmed = source.trim();
    let start = source.len() - source.trim_start().len();
    if !trimmed.starts_with(OPEN) {
        return Ok((trimmed, start));
    }
    match parts(trimmed).map_err(|Unclosed(at)| Unclosed(start + at))?.as_slice() {
        [Part::Expression { source, at }] => Ok((source, start + at)),
        _ => Ok((trimmed, start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_end_at_the_first_braces_that_are_not_theirs() {
        for (source, expected) in [
            ("a ${{ b }} c", vec![" b "]),
            ("${{a}}${{b}}", vec!["a", "b"]),
            ("${{ '}}' }}", vec![" '}}' "]),
            ("${{ {'a': {'b': 1}}}}", vec![" {'a': {'b': 1}}"]),
            ("${ {a}} {{b}} $ {{c}}", vec![]),
        ] {
            let found: Vec<&str> = parts(source)
                .unwrap()
                .into_iter()
                .filter_map(|part| match part {
                    Part::Expression { source, .. } => Some(source),
                    Part::Text(_) => None,
                })
                .collect();
            assert_eq!(found, expected, "{source}");
        }
        assert_eq!(parts("ab ${{ c }"), Err(Unclosed(3)));
    }
}
