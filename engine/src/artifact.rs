//! Which files of a workspace are kept: patterns as they are written under `artifacts`. It reads no
//! directory.

use std::str::FromStr;

use thiserror::Error;

/// The longest path of an artifact.
pub const PATH_BYTES_MAX: usize = 1024;

/// A file, a folder with everything in it, or a pattern of either: `*` and `?` stand for what has no
/// `/` in it, `[a-z]` for one of these, `**` for any number of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` names no file of the workspace: {why}")]
pub struct NotAPattern {
    text: String,
    why: &'static str,
}

impl FromStr for Pattern {
    type Err = NotAPattern;
    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let refuse = |why| Err(NotAPattern { text: text.to_owned(), why });
        if text.starts_with('/') {
            return refuse("write a path that starts in the workspace");
        }
        if text.contains('\0') || text.len() > PATH_BYTES_MAX {
            return refuse("no file is called so");
        }
        let segments: Vec<String> = text
            .split('/')
            .filter(|segment| !matches!(*segment, "" | "."))
            .map(str::to_owned)
            .collect();
        if segments.iter().any(|segment| segment == "..") {
            return refuse("`..` leads out of it");
        }
        if segments.is_empty() && !text.contains('.') {
            return refuse("it is empty");
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

impl Pattern {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names one file or folder, which then has to be there.
    pub fn is_literal(&self) -> bool {
        !self.text.contains(['*', '?', '['])
    }

    /// Whether a file is meant, by its own path or by that of a folder it is in.
    pub fn covers(&self, path: &[&str]) -> bool {
        covers(&self.segments, path)
    }

    /// Whether something in a folder may be meant.
    pub fn leads_into(&self, folder: &[&str]) -> bool {
        leads_into(&self.segments, folder)
    }
}

fn covers(pattern: &[String], path: &[&str]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return true };
    if first == "**" {
        // At the end it means what is in there, not the folder's own name.
        let least = usize::from(rest.is_empty());
        return (least..=path.len()).any(|skipped| covers(rest, &path[skipped..]));
    }
    let Some((name, deeper)) = path.split_first() else { return false };
    is_like(first, name) && covers(rest, deeper)
}

fn leads_into(pattern: &[String], folder: &[&str]) -> bool {
    match (pattern.split_first(), folder.split_first()) {
        (None, _) | (_, None) => true,
        (Some((first, _)), _) if first == "**" => true,
        (Some((first, rest)), Some((name, deeper))) => {
            is_like(first, name) && leads_into(rest, deeper)
        }
    }
}

/// Whether a name is like one segment of a pattern.
fn is_like(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stands, and how much it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        if let Some(length) = one(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
        } else if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, seen) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// The length of the pattern's next part, if it is one letter's and this letter is meant.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|it| *it == ']').map(|at| at + 2);
            let Some(end) = end else { return (letter == '[').then_some(1) };
            let (is_negated, set) = match &pattern[1..end] {
                ['!' | '^', set @ ..] if !set.is_empty() => (true, set),
                set => (false, set),
            };
            (is_among(set, letter) != is_negated).then_some(end + 1)
        }
        other => (*other == letter).then_some(1),
    }
}

fn is_among(set: &[char], letter: char) -> bool {
    match set {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&letter) || is_among(rest, letter),
        [first, rest @ ..] => *first == letter || is_among(rest, letter),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_files_and_what_is_in_folders() {
        for (pattern, path, is_meant) in [
            ("report.xml", "report.xml", true),
            ("report.xml", "a/report.xml", false),
            ("dist", "dist/a/b", true),
            ("dist/", "dist/a", true),
            ("./dist/./a", "dist/a", true),
            (".", "a/b", true),
            ("*.xml", "a.xml", true),
            ("*.xml", ".xml", true),
            ("*.xml", "a/b.xml", false),
            ("**/*.xml", "a/b/c.xml", true),
            ("**/*.xml", "c.xml", true),
            ("target/**/junit.xml", "target/nextest/ci/junit.xml", true),
            ("target/**/junit.xml", "target/junit.xml", true),
            ("target/**/junit.xml", "other/junit.xml", false),
            ("target/**", "target", false),
            ("target/**", "target/a/b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a1b2bc", true),
            ("a*b*c", "a1b2b", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[ab", "[ab", true),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            let path_of: Vec<&str> = path.split('/').collect();
            assert_eq!(parsed.covers(&path_of), is_meant, "{pattern} {path}");
            if is_meant {
                for depth in 0..path_of.len() {
                    assert!(parsed.leads_into(&path_of[..depth]), "{pattern} {path} {depth}");
                }
            }
        }
        let deep: Pattern = "src/*.rs".parse().unwrap();
        assert!(!deep.leads_into(&["target"]));
        assert!(!deep.leads_into(&["src", "a"]));
    }

    #[test]
    fn what_leads_out_of_the_workspace_is_no_pattern() {
        for text in ["/etc/passwd", "../a", "a/../../b", "", "a\0b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
