//! Templates of one task: their syntax, what they refer to, and where a problem in them stands.

use std::rc::Rc;

use super::resolve::{Found, Resolver};
use crate::{
    expression::{
        self, names,
        template::{self, Part, Unclosed},
        words::{self, Role, Word},
    },
    workflow::{
        definition::Text,
        problem::Problems,
        suggest,
        tree::{Node, Tree},
    },
};

/// Checks templates as one task sees them.
pub(super) struct Templates<'a, 'w> {
    pub(super) resolver: Resolver<'a, 'w>,
    pub(super) source: &'a str,
    pub(super) found: Found,
}

impl Templates<'_, '_> {
    /// Text that may hold `${{ }}`.
    pub(super) fn text(&mut self, text: &Text, problems: &mut Problems) {
        self.scalar(text, problems);
    }

    /// A bare expression, or one in `${{ }}`.
    pub(super) fn condition(&mut self, text: &Text, problems: &mut Problems) {
        match template::condition(&text.text) {
            Err(Unclosed(at)) => unclosed(locate(text, self.source, at), problems),
            Ok((expression, _)) if template::has_expression(expression) => problems.hint(
                text.raw.start,
                "a condition is one expression, not text with expressions in it",
                "write all of it in one `${{ }}`, or without any",
            ),
            Ok((expression, at)) => self.expression(expression, at, text, problems),
        }
    }

    /// Every text in a value.
    pub(super) fn tree(&mut self, tree: &Rc<Tree>, problems: &mut Problems) {
        match &tree.node {
            Node::Scalar(scalar) if scalar.value.is_string() => {
                let text = Text { text: scalar.text.clone(), raw: scalar.raw.clone() };
                self.scalar(&text, problems);
            }
            Node::Scalar(_) => {}
            Node::List(items) => items.iter().for_each(|item| self.tree(item, problems)),
            Node::Map(entries) => {
                for entry in entries {
                    self.tree(&entry.value, problems);
                }
            }
        }
    }

    fn scalar(&mut self, text: &Text, problems: &mut Problems) {
        if !template::has_expression(&text.text) {
            return;
        }
        match template::parts(&text.text) {
            Err(Unclosed(at)) => unclosed(locate(text, self.source, at), problems),
            Ok(parts) => {
                for part in parts {
                    if let Part::Expression { source, at } = part {
                        self.expression(source, at, text, problems);
                    }
                }
            }
        }
    }

    /// One expression, which starts at byte `at` of `text`.
    fn expression(&mut self, source: &str, at: usize, text: &Text, problems: &mut Problems) {
        if problems.is_full() {
            return;
        }
        let place = |inside: usize| locate(text, self.source, at + inside);
        if let Err(error) = expression::check(source) {
            let first = source.len() - source.trim_start().len();
            let message = format!("`{}` is not an expression: {}", source.trim(), error.message);
            let hint = (source.contains("&&") || source.contains("||"))
                .then(|| "write `and`, `or` and `not`".to_owned());
            problems.maybe(place(error.at.max(first)), message, hint);
            return;
        }
        for word in &words::words(source) {
            if let Some((message, hint)) = unknown_word(word) {
                problems.hint(place(word.at), message, hint);
            }
        }
        let mut skipped: Vec<usize> = Vec::new();
        for name in &names::names(source) {
            if skipped.contains(&name.at) {
                continue;
            }
            if let Err(unknown) = self.resolver.resolve(name, &mut self.found) {
                problems.hint(place(name.at), unknown.message, unknown.hint);
                skipped.extend(name.dashed.iter().flat_map(|dashed| dashed.tails.iter().copied()));
            }
        }
    }
}

/// What to say about a filter, test or method that does not exist.
fn unknown_word(word: &Word) -> Option<(String, String)> {
    let Word { role, name, .. } = word;
    let known = words::known(*role);
    if known.contains(&name.as_str()) {
        return None;
    }
    let is_filter = || words::known(Role::Filter).contains(&name.as_str());
    Some(match role {
        Role::Filter => (format!("there is no filter `{name}`"), suggest::or_list(name, known)),
        Role::Test => (format!("there is no test `{name}`"), suggest::or_list(name, known)),
        Role::Method if is_filter() => {
            ("values have no methods".to_owned(), format!("a filter is written `x | {name}`"))
        }
        Role::Method => (
            "values have no methods".to_owned(),
            "filters are written `x | upper`, the parts of a map `x.part`".to_owned(),
        ),
    })
}

fn unclosed(at: usize, problems: &mut Problems) {
    problems.add(at, "this `${{` has no closing `}}`");
}

/// Where byte `at` of a text's value stands in the source. Escapes and folded lines can make this
/// inexact; then it is the start of the expression or of the text.
pub(super) fn locate(text: &Text, source: &str, at: usize) -> usize {
    let raw = source.get(text.raw.clone()).unwrap_or_default();
    if let Some(found) = raw.find(&text.text) {
        return text.raw.start + found + at;
    }
    let before = text.text.get(..at).unwrap_or(&text.text);
    let Some(opened) = before.matches("${{").count().checked_sub(1) else { return text.raw.start };
    let (Some((in_value, _)), Some((in_raw, _))) =
        (text.text.match_indices("${{").nth(opened), raw.match_indices("${{").nth(opened))
    else {
        return text.raw.start;
    };
    let inside = at - in_value;
    let is_verbatim = raw.get(in_raw..in_raw + inside) == text.text.get(in_value..at);
    text.raw.start + in_raw + if is_verbatim { inside } else { 0 }
}
