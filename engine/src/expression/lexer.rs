//! The words of an expression, as far as they are needed to find where it ends and which names it
//! looks up. Whether it is a valid expression is minijinja's question.

use std::ops::Range;

/// A word of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Name,
    /// Digits, also with a fraction or an exponent.
    Number,
    /// Text in quotes, the quotes included.
    Text,
    /// One character of punctuation.
    Sign(char),
}

/// Reads words one after the other.
#[derive(Debug)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) const fn new(source: &'s str, at: usize) -> Self {
        Self { source, at }
    }

    /// The end of the run of bytes from `start` that `belongs` accepts.
    fn run(&self, start: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let bytes = &self.source.as_bytes()[start..];
        start + bytes.iter().position(|b| !belongs(*b)).unwrap_or(bytes.len())
    }

    fn number(&self, start: usize) -> usize {
        let bytes = self.source.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut end = self.run(start, |b| b.is_ascii_alphanumeric() || b == b'_');
        if bytes.get(end) == Some(&b'.')
            && digit(end + 1)
            && bytes[start..end].iter().all(u8::is_ascii_digit)
        {
            end = self.run(end + 1, |b| b.is_ascii_alphanumeric() || b == b'_');
        }
        if matches!(bytes[end - 1], b'e' | b'E')
            && matches!(bytes.get(end), Some(b'+' | b'-'))
            && digit(end + 1)
        {
            end = self.run(end + 1, |b| b.is_ascii_digit());
        }
        end
    }

    /// After a dot a number is an index: `items.0.check` holds no fraction.
    pub(super) fn index(&mut self) -> Option<Range<usize>> {
        let start = self.run(self.at, |b| b.is_ascii_whitespace());
        let end = self.run(start, |b| b.is_ascii_digit());
        (end > start).then(|| {
            self.at = end;
            start..end
        })
    }

    fn text(&self, start: usize, quote: u8) -> usize {
        let bytes = self.source.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 2,
                b if b == quote => return at + 1,
                _ => at += 1,
            }
        }
        bytes.len()
    }
}

impl Iterator for Lexer<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.run(self.at, |b| b.is_ascii_whitespace());
        let first = self.source[start..].chars().next()?;
        let (token, end) = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                (Token::Name, self.run(start, |b| b.is_ascii_alphanumeric() || b == b'_'))
            }
            '0'..='9' => (Token::Number, self.number(start)),
            '\'' => (Token::Text, self.text(start, b'\'')),
            '"' => (Token::Text, self.text(start, b'"')),
            sign => (Token::Sign(sign), start + sign.len_utf8()),
        };
        self.at = end;
        Some((token, start..end))
    }
}

/// Where the expression that starts at `from` ends: at the first `}}` outside text and braces.
pub(super) fn end_of_expression(source: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (token, span) in Lexer::new(source, from) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') if depth > 0 => depth -= 1,
            Token::Sign('}') if source[span.start..].starts_with("}}") => return Some(span.start),
            Token::Sign(_) | Token::Name | Token::Number | Token::Text => {}
        }
    }
    None
}
