//! Which filters, tests and methods an expression uses, and which there are. What a name stands for
//! is not its question: that is [`super::names`].

use std::ops::Range;

use super::{
    filters,
    lexer::Token,
    names::{sign, tokens},
};

/// What a word of an expression is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `x | join`, `map('join')`.
    Filter,
    /// `x is defined`, `select('defined')`.
    Test,
    /// `x.keys()`.
    Method,
}

/// A filter, test or method by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub role: Role,
    pub name: String,
    /// Where it stands in the expression.
    pub at: usize,
}

const TESTS: [&str; 36] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "odd",
    "even",
    "divisibleby",
    "number",
    "integer",
    "int",
    "float",
    "string",
    "sequence",
    "iterable",
    "mapping",
    "startingwith",
    "endingwith",
    "lower",
    "upper",
    "sameas",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    "greaterthan",
    ">",
    "ge",
    ">=",
    "in",
];

/// Tests that are words of the language too.
const WORD_TESTS: [&str; 6] = ["true", "false", "safe", "escaped", "filter", "test"];

/// The names that exist for a role; values have no methods.
pub fn known(role: Role) -> Vec<&'static str> {
    match role {
        Role::Filter => filters::names().collect(),
        Role::Test => TESTS.iter().chain(&WORD_TESTS).copied().collect(),
        Role::Method => Vec::new(),
    }
}

/// All filters, tests and methods that `source` uses.
pub fn words(source: &str) -> Vec<Word> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (index, (token, span)) in tokens.iter().enumerate() {
        if *token != Token::Name {
            continue;
        }
        let Some(role) = role(source, &tokens, index) else { continue };
        let name = source[span.clone()].to_owned();
        if role == Role::Filter {
            found.extend(argument(source, &tokens, index, &name));
        }
        found.push(Word { role, name, at: span.start });
    }
    found
}

fn role(source: &str, tokens: &[(Token, Range<usize>)], at: usize) -> Option<Role> {
    let before = at.checked_sub(1)?;
    let text = |at: usize| &source[tokens[at].1.clone()];
    let is_word = |at: usize, word: &str| tokens[at].0 == Token::Name && text(at) == word;
    match sign(tokens, before) {
        Some('|') => return Some(Role::Filter),
        Some('.') if sign(tokens, at + 1) == Some('(') => return Some(Role::Method),
        _ => {}
    }
    let is_attribute = |at: usize| at > 0 && sign(tokens, at - 1) == Some('.');
    let is = if is_word(before, "not") { before.checked_sub(1)? } else { before };
    (is_word(is, "is") && !is_attribute(is) && !is_word(at, "not")).then_some(Role::Test)
}

/// The filter or test that `map`, `select` and `reject` are given by its name.
fn argument(
    source: &str,
    tokens: &[(Token, Range<usize>)],
    filter: usize,
    name: &str,
) -> Option<Word> {
    let role = match name {
        "map" => Role::Filter,
        "select" | "reject" => Role::Test,
        _ => return None,
    };
    let (token, span) = tokens.get(filter + 2)?;
    if sign(tokens, filter + 1) != Some('(') || *token != Token::Text {
        return None;
    }
    let name = source.get(span.start + 1..span.end - 1)?;
    Some(Word { role, name: name.to_owned(), at: span.start })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expression::{Scope, render};

    #[test]
    fn every_known_word_is_one_to_minijinja() {
        for (role, test) in [(Role::Filter, "filter"), (Role::Test, "test")] {
            for name in known(role) {
                let source = format!("${{{{ '{name}' is {test} }}}}");
                assert_eq!(render(&source, &Scope::default()).unwrap(), json!(true), "{name}");
            }
        }
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        let shown = |source| {
            let words = words(source).into_iter();
            words.map(|w| format!("{:?} {}", w.role, w.name)).collect::<Vec<_>>().join(", ")
        };
        for (source, expected) in [
            ("a | join(b | upper)", "Filter join, Filter upper"),
            ("a is defined and b is not none", "Test defined, Test none"),
            (
                "a | map('upper') | select('odd')",
                "Filter upper, Filter map, Test odd, Filter select",
            ),
            ("a.keys() and a.b", "Method keys"),
            ("'x | y' and not a", ""),
            ("x.is.y", ""),
            ("a is in [1]", "Test in"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }
}
