//! What a scripted agent does to files: inside the workspace only, never through a link, never to
//! git's own files. It knows no templates: everything comes in rendered.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use regex::{NoExpand, Regex, Replacer};
use serde::Serialize;

use super::super::{
    directory::remove_tree,
    halt::{Done, Halt},
};

/// Files that one search looks at.
const FILES_MAX: usize = 100_000;
const MATCHES_MAX: usize = 10_000;

/// The files of a workspace.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: PathBuf,
}

/// A place where a pattern matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Match {
    /// The first group, or all of it where there are no groups.
    text: String,
    groups: Vec<String>,
    path: String,
    line: usize,
}

/// What `replace` looks for.
#[derive(Debug)]
pub(super) enum Wanted {
    Literal(String),
    Pattern(Regex),
}

impl Match {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn write(&self, path: &str, text: &str) -> Done<()> {
        let place = self.place(path)?;
        let parent = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).and_then(|()| fs::write(&place, text)).map_err(at(path))
    }

    pub(super) fn append(&self, path: &str, text: &str) -> Done<()> {
        let mut whole = match fs::read_to_string(self.place(path)?) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(at(path)(error)),
        };
        whole.push_str(text);
        self.write(path, &whole)
    }

    pub(super) fn delete(&self, path: &str) -> Done<()> {
        remove_tree(&self.place(path)?).map_err(at(path))
    }

    pub(super) fn copy(&self, from: &str, to: &str) -> Done<()> {
        let text = fs::read_to_string(self.place(from)?).map_err(at(from))?;
        self.write(to, &text)
    }

    pub(super) fn exists(&self, path: &str) -> Done<bool> {
        Ok(fs::symlink_metadata(self.place(path)?).is_ok())
    }

    /// Returns false when nothing matched.
    pub(super) fn replace(
        &self,
        path: &str,
        wanted: &Wanted,
        with: &str,
        is_first_only: bool,
    ) -> Done<bool> {
        let text = fs::read_to_string(self.place(path)?).map_err(at(path))?;
        let limit = usize::from(is_first_only);
        let replaced = match wanted {
            Wanted::Literal(find) => {
                let find = Regex::new(&regex::escape(find))?;
                replaced(&find, &text, limit, NoExpand(with))
            }
            Wanted::Pattern(pattern) => replaced(pattern, &text, limit, with),
        };
        let Some(replaced) = replaced else { return Ok(false) };
        self.write(path, &replaced).map(|()| true)
    }

    /// All matches in the files that `glob` names, in the order of paths and lines.
    pub(super) fn extract(&self, glob: &str, pattern: &Regex) -> Done<Vec<Match>> {
        let glob = Regex::new(&glob_pattern(glob))?;
        let mut paths = Vec::new();
        self.walk(&self.root, &glob, &mut paths).map_err(at("the workspace"))?;
        paths.sort();
        let mut found = Vec::new();
        for path in paths {
            // What is not text has no lines to find.
            let Ok(text) = fs::read_to_string(self.root.join(&path)) else { continue };
            for captures in pattern.captures_iter(&text) {
                let Some(all) = captures.get(0) else { continue };
                let groups: Vec<String> = captures
                    .iter()
                    .map(|group| group.map_or(String::new(), |it| it.as_str().to_owned()))
                    .collect();
                let text_before = &text[..all.start()];
                let line = 1 + text_before.matches('\n').count();
                let text = groups.get(1).unwrap_or(&groups[0]).clone();
                found.push(Match { text, groups, path: path.clone(), line });
                if found.len() > MATCHES_MAX {
                    return Err(Halt::error(format!("more than {MATCHES_MAX} matches")));
                }
            }
        }
        Ok(found)
    }

    fn walk(&self, dir: &Path, glob: &Regex, paths: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() && entry.file_name() != ".git" {
                self.walk(&path, glob, paths)?;
            } else if kind.is_file() && paths.len() < FILES_MAX {
                let inner = path.strip_prefix(&self.root).unwrap_or(&path);
                paths.extend(inner.to_str().filter(|it| glob.is_match(it)).map(str::to_owned));
            }
        }
        Ok(())
    }

    /// Where `path` is, if it is inside and no link leads there.
    fn place(&self, path: &str) -> Done<PathBuf> {
        let refuse = |why: &str| Halt::error(format!("`{path}` {why}"));
        let mut place = self.root.clone();
        for component in Path::new(path).components() {
            match component {
                Component::CurDir => continue,
                Component::Normal(name) if name == ".git" => {
                    return Err(refuse("belongs to git"));
                }
                Component::Normal(name) => place.push(name),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(refuse("is not inside the workspace"));
                }
            }
            if fs::symlink_metadata(&place).is_ok_and(|found| found.is_symlink()) {
                return Err(refuse("is reached through a link"));
            }
        }
        if place == self.root {
            return Err(refuse("does not name a file"));
        }
        Ok(place)
    }
}

fn at(path: &str) -> impl Fn(io::Error) -> Halt {
    move |error| Halt::error(format!("{path}: {error}"))
}

impl From<regex::Error> for Halt {
    fn from(error: regex::Error) -> Self {
        Self::error(error.to_string())
    }
}

fn replaced(pattern: &Regex, text: &str, limit: usize, with: impl Replacer) -> Option<String> {
    pattern.is_match(text).then(|| pattern.replacen(text, limit, with).into_owned())
}

/// `*` and `?` stay within a folder, `**/` spans any number of them.
fn glob_pattern(glob: &str) -> String {
    let mut pattern = "^".to_owned();
    let mut rest = glob;
    while !rest.is_empty() {
        let (wanted, length) = match rest.as_bytes() {
            [b'*', b'*', b'/', ..] => ("(?:.*/)?".to_owned(), 3),
            [b'*', b'*', ..] => (".*".to_owned(), 2),
            [b'*', ..] => ("[^/]*".to_owned(), 1),
            [b'?', ..] => ("[^/]".to_owned(), 1),
            _ => {
                let plain = rest.find(['*', '?']).unwrap_or(rest.len());
                (regex::escape(&rest[..plain]), plain)
            }
        };
        pattern.push_str(&wanted);
        rest = &rest[length..];
    }
    pattern.push('$');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir(&root).unwrap();
        (dir, Tree::new(root))
    }

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, path, matches) in [
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/deep/a.rs", false),
            ("src/**/*.rs", "src/a.rs", true),
            ("src/**/*.rs", "src/deep/er/a.rs", true),
            ("**/a.?s", "x/a.rs", true),
            ("a.rs", "axrs", false),
            ("docs/**", "docs/a/b", true),
        ] {
            let found = Regex::new(&glob_pattern(glob)).unwrap().is_match(path);
            assert_eq!(found, matches, "{glob} {path}");
        }
    }

    #[test]
    fn nothing_outside_the_workspace_is_touched() {
        let (dir, tree) = tree();
        fs::write(dir.path().join("outside"), "safe").unwrap();
        std::os::unix::fs::symlink(dir.path(), tree.root.join("link")).unwrap();
        std::os::unix::fs::symlink("../outside", tree.root.join("file")).unwrap();
        for path in
            ["../outside", "/tmp/x", "link/outside", "file", ".git/config", "a/.git/x", "", "."]
        {
            assert!(tree.write(path, "changed").is_err(), "{path}");
            assert!(tree.append(path, "changed").is_err(), "{path}");
            assert!(tree.delete(path).is_err(), "{path}");
        }
        let everything = Regex::new("safe").unwrap();
        assert_eq!(tree.extract("**", &everything), Ok(vec![]));
        assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "safe");
    }

    #[test]
    fn files_are_edited_by_what_is_found_in_them() {
        let (_dir, tree) = tree();
        tree.write("src/b.rs", "pub fn two() {}\n").unwrap();
        tree.write("src/a.rs", "fn no() {}\npub fn one() {}\n").unwrap();
        let found = tree.extract("src/**/*.rs", &Regex::new(r"pub fn (\w+)").unwrap()).unwrap();
        let places: Vec<_> =
            found.iter().map(|it| (it.text(), it.path.as_str(), it.line)).collect();
        assert_eq!(places, [("one", "src/a.rs", 2), ("two", "src/b.rs", 1)]);
        let pattern = Wanted::Pattern(Regex::new(r"fn (\w+)").unwrap());
        assert_eq!(tree.replace("src/a.rs", &pattern, "fn ${1}_", true), Ok(true));
        let literal = Wanted::Literal("{}".to_owned());
        assert_eq!(tree.replace("src/a.rs", &literal, "{ $1 }", false), Ok(true));
        assert_eq!(tree.replace("src/a.rs", &literal, "x", false), Ok(false));
        let text = fs::read_to_string(tree.root.join("src/a.rs")).unwrap();
        assert_eq!(text, "fn no_() { $1 }\npub fn one() { $1 }\n");
        tree.copy("src/a.rs", "deep/er/copy.rs").unwrap();
        tree.append("deep/er/copy.rs", "end").unwrap();
        assert!(fs::read_to_string(tree.root.join("deep/er/copy.rs")).unwrap().ends_with("}\nend"));
        tree.delete("deep").unwrap();
        tree.delete("deep").unwrap();
    }
}
