//! What tasks changed in repositories, in numbers, and which of these changes make up a session. It
//! knows no git.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Files that are listed of one change.
pub const FILES_MAX: usize = 5_000;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    Added,
    Modified,
    Deleted,
    /// It became something else: a link, a submodule.
    Retyped,
}

/// A file that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileChange {
    pub path: String,
    pub status: FileStatus,
    /// Lines; null where the file is no text.
    #[schema(required)]
    pub insertions: Option<u64>,
    #[schema(required)]
    pub deletions: Option<u64>,
}

/// The sum of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stat {
    pub files: u64,
    pub insertions: u64,
    pub deletions: u64,
}

impl Stat {
    /// Of these files.
    pub fn of(files: &[FileChange]) -> Self {
        files.iter().fold(Self::default(), |sum, file| {
            sum.and(Self {
                files: 1,
                insertions: file.insertions.unwrap_or(0),
                deletions: file.deletions.unwrap_or(0),
            })
        })
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            insertions: self.insertions + other.insertions,
            deletions: self.deletions + other.deletions,
        }
    }
}

/// A step from one commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    pub base: &'a str,
    pub commit: &'a str,
    /// Commits that it brings together.
    pub merged: &'a [String],
}

/// Which steps make up the whole: those that no merge among them has taken in, by their indices. What
/// led to a commit that was taken in, was taken in with it.
pub fn whole(steps: &[Step<'_>]) -> Vec<usize> {
    let mut taken: HashSet<usize> = HashSet::new();
    let mut open: Vec<&str> = steps.iter().flat_map(|it| it.merged).map(String::as_str).collect();
    while let Some(commit) = open.pop() {
        for (index, step) in steps.iter().enumerate() {
            // A merge that takes in what it made itself would take in itself.
            if step.commit == commit
                && !step.merged.iter().any(|it| it == commit)
                && taken.insert(index)
            {
                open.push(step.base);
            }
        }
    }
    (0..steps.len()).filter(|index| !taken.contains(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_merge_took_in_is_part_of_the_merge() {
        let merged = ["b2".to_owned(), "c1".to_owned()];
        let again = ["m1".to_owned()];
        let step = |base, commit, merged| Step { base, commit, merged };
        let steps = [
            step("0", "a1", &[]),
            step("0", "b1", &[]),
            step("b1", "b2", &[]),
            step("0", "c1", &[]),
            step("0", "m1", &merged[..]),
            step("m1", "d1", &[]),
        ];
        assert_eq!(whole(&steps), [0, 4, 5]);
        assert_eq!(whole(&steps[..4]), [0, 1, 2, 3]);
        let more = [steps.as_slice(), &[step("0", "m2", &again[..])]].concat();
        assert_eq!(whole(&more), [0, 5, 6]);
        assert_eq!(whole(&[step("0", "m1", &again[..])]), [0]);
    }
}
