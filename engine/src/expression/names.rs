//! Which names an expression looks up: `tasks.plan.outputs.components`, `tasks['my-task'].status`.
//! It does not know what the names mean.

use std::ops::Range;

use super::lexer::{Lexer, Token};

/// A name with everything that is looked up in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub root: String,
    pub steps: Vec<Step>,
    /// Where it starts in the expression.
    pub at: usize,
    /// It is called: `range(3)`.
    pub is_call: bool,
    /// The last step goes on with a dash: for `tasks.my-task.outputs` this is `my-task`.
    pub dashed: Option<Dashed>,
}

/// One look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key known from the text: `.plan`, `['my-task']`, `.0`, `[0]`.
    Key(String),
    /// A key that only a value gives: `[item]`.
    Dynamic,
}

/// What follows a name without a space after a `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashed {
    pub name: String,
    /// Where the part after the last dash starts: a name of its own for the expression.
    pub tails: Vec<usize>,
}

impl Name {
    /// The name as it would be written, up to `steps` look-ups.
    pub fn written(&self, steps: usize) -> String {
        let mut text = self.root.clone();
        for step in self.steps.iter().take(steps) {
            match step {
                Step::Key(key) if is_identifier(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Key(key) => {
                    text.push_str("['");
                    text.push_str(key);
                    text.push_str("']");
                }
                Step::Dynamic => text.push_str("[…]"),
            }
        }
        text
    }
}

/// Whether `text` can be written after a dot.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

const WORDS: [&str; 13] = [
    "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
];

/// Whether a name means something else in an expression.
pub fn is_word(name: &str) -> bool {
    WORDS.contains(&name)
}

/// All names that `source` looks up.
pub fn names(source: &str) -> Vec<Name> {
    let tokens: Vec<(Token, Range<usize>)> = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].0 == Token::Name && starts_a_name(source, &tokens, at) {
            at = read(source, &tokens, at, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Words with their places; a number after a dot is an index.
pub(super) fn tokens(source: &str) -> Vec<(Token, Range<usize>)> {
    let mut lexer = Lexer::new(source, 0);
    let mut tokens = Vec::new();
    while let Some((token, span)) = lexer.next() {
        tokens.push((token, span));
        if token == Token::Sign('.')
            && let Some(span) = lexer.index()
        {
            tokens.push((Token::Number, span));
        }
    }
    tokens
}

pub(super) fn sign(tokens: &[(Token, Range<usize>)], at: usize) -> Option<char> {
    match tokens.get(at)?.0 {
        Token::Sign(sign) => Some(sign),
        Token::Name | Token::Number | Token::Text => None,
    }
}

/// Whether the word at `at` is looked up: it is no attribute, filter, test, word or argument's name.
fn starts_a_name(source: &str, tokens: &[(Token, Range<usize>)], at: usize) -> bool {
    let text = |at: usize| &source[tokens[at].1.clone()];
    let is_test_name = |before: usize| {
        text(before) == "is" || (text(before) == "not" && before > 0 && text(before - 1) == "is")
    };
    if is_word(text(at)) {
        return false;
    }
    if at > 0 && (matches!(sign(tokens, at - 1), Some('.' | '|')) || is_test_name(at - 1)) {
        return false;
    }
    let is_argument_name = sign(tokens, at + 1) == Some('=')
        && sign(tokens, at + 2) != Some('=')
        && at > 0
        && matches!(sign(tokens, at - 1), Some('(' | ','));
    !is_argument_name
}

/// Reads the name that starts at `at`; returns where to go on. What stands inside of brackets is
/// read by the caller, unless it is one literal.
fn read(source: &str, tokens: &[(Token, Range<usize>)], at: usize, found: &mut Vec<Name>) -> usize {
    let text = |at: usize| &source[tokens[at].1.clone()];
    let mut name = Name {
        root: text(at).to_owned(),
        steps: Vec::new(),
        at: tokens[at].1.start,
        is_call: false,
        dashed: None,
    };
    let mut next = at + 1;
    // Where the caller goes on: at the first bracket that holds more than a literal.
    let mut resume = None;
    loop {
        match sign(tokens, next) {
            Some('.')
                if tokens
                    .get(next + 1)
                    .is_some_and(|t| matches!(t.0, Token::Name | Token::Number)) =>
            {
                name.steps.push(Step::Key(text(next + 1).to_owned()));
                next += 2;
            }
            Some('[') => {
                let literal = tokens.get(next + 1).filter(|_| sign(tokens, next + 2) == Some(']'));
                match literal.map(|token| token.0) {
                    Some(Token::Text) => name.steps.push(Step::Key(unquote(text(next + 1)))),
                    Some(Token::Number) => name.steps.push(Step::Key(text(next + 1).to_owned())),
                    Some(Token::Name | Token::Sign(_)) | None => {
                        name.steps.push(Step::Dynamic);
                        resume = resume.or(Some(next + 1));
                    }
                }
                next = closing(tokens, next);
            }
            _ => break,
        }
    }
    if sign(tokens, next) == Some('(') {
        name.is_call = name.steps.pop().is_none();
    } else {
        name.dashed = dashed(source, tokens, next);
    }
    found.push(name);
    resume.unwrap_or(next)
}

/// The token after the bracket that closes the one at `open`.
fn closing(tokens: &[(Token, Range<usize>)], open: usize) -> usize {
    let mut depth = 0_usize;
    for at in open..tokens.len() {
        match sign(tokens, at) {
            Some('[' | '(' | '{') => depth += 1,
            Some(']' | ')' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn dashed(source: &str, tokens: &[(Token, Range<usize>)], from: usize) -> Option<Dashed> {
    let first = tokens.get(from.checked_sub(1)?)?;
    if first.0 != Token::Name {
        return None;
    }
    let mut end = first.1.end;
    let mut tails = Vec::new();
    let mut at = from;
    while sign(tokens, at) == Some('-') && tokens[at].1.start == end {
        let Some((Token::Name | Token::Number, span)) = tokens.get(at + 1) else { break };
        if span.start != end + 1 {
            break;
        }
        tails.push(span.start);
        end = span.end;
        at += 2;
    }
    (!tails.is_empty()).then(|| Dashed { name: source[first.1.start..end].to_owned(), tails })
}

/// The text between quotes. Escapes stay as they are: no id or key holds a backslash.
fn unquote(text: &str) -> String {
    text.get(1..text.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand() {
        for (source, expected) in [
            ("tasks.plan.outputs.components", "tasks.plan.outputs.components"),
            ("tasks['my-task'].status == 'completed'", "tasks['my-task'].status"),
            ("tasks.build.items.0.check.outputs.x", "tasks.build.items['0'].check.outputs.x"),
            ("tasks.build.items['a.b'].check", "tasks.build.items['a.b'].check"),
            ("tasks.a.items[item].b + inputs.x", "tasks.a.items[…].b item inputs.x"),
            ("a.b | map(attribute='x.y') | join(sep)", "a.b sep"),
            ("a is defined and b is not none or c is divisibleby n", "a b c n"),
            ("f(x, key=y, z == w)", "f() x y z w"),
            ("'tasks.no' ~ \"inputs.no\" ~ yes", "yes"),
            ("{'a': b, c: [d[0], -e]}", "b c d['0'] e"),
            ("x.f(y).z", "x y"),
            ("x if y else z", "x y z"),
            ("1.5 + a[1:n]", "a[…] n"),
            ("true and None", ""),
            ("a[b[c.d]].e", "a[…].e b[…] c.d"),
        ] {
            let found: Vec<String> = names(source)
                .iter()
                .map(|n| n.written(9) + if n.is_call { "()" } else { "" })
                .collect();
            assert_eq!(found.join(" "), expected, "{source}");
        }
    }

    #[test]
    fn a_name_that_goes_on_with_a_dash_is_noticed() {
        let found = names("tasks.my-long-task.outputs.x - 1");
        let dashed = found[0].dashed.clone().unwrap();
        assert_eq!((dashed.name.as_str(), dashed.tails), ("my-long-task", vec![9, 14]));
        assert!(names("tasks.my - task").iter().all(|name| name.dashed.is_none()));
    }
}
