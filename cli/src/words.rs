//! A command line in one setting: split into words as a shell would, and nothing else of a shell.

use crate::exit::Failure;

/// The words of `text`; `None` when a quote is not closed.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The command line in a setting; the refusal names where it stands.
pub fn argv(name: &str, text: &str) -> Result<Vec<String>, Failure> {
    split(text)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| Failure::usage(format!("{name}: `{text}` is wrong: no command line")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        for (text, words) in [
            ("", vec![]),
            ("agent --fast", vec!["agent", "--fast"]),
            ("agent 'a b' \"c \\\" d\" e\\ f ''", vec!["agent", "a b", "c \" d", "e f", ""]),
            ("a'b'c", vec!["abc"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert_eq!(split("open 'quote"), None);
    }
}
