//! The files that subtasks may change: which of them may touch the same ones, and which locks keep
//! those apart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breakdown, Subtask, order::Order};
use crate::{artifact::Pattern, plan::LOCKS_MAX};

pub(super) fn check(path: &str) -> Result<(), String> {
    path.parse::<Pattern>().map(|_| ()).map_err(|error| error.to_string())
}

/// The locks of each leaf: of two that may change the same files and need not wait for each other in
/// any other way, both take one lock.
pub(super) fn locks(breakdown: &Breakdown) -> BTreeMap<&str, Vec<String>> {
    let order = Order::new(breakdown);
    let leaves = breakdown.leaves();
    let mut pairs = Vec::new();
    for (index, first) in leaves.iter().enumerate() {
        for second in &leaves[index + 1..] {
            let (a, b) = (first.id.as_str(), second.id.as_str());
            let apart = order.is_before(a, b) || order.is_before(b, a);
            if !apart && overlap(&first.paths, &second.paths) {
                pairs.push((a, b));
            }
        }
    }
    let mut locks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (a, b) in &pairs {
        for one in [a, b] {
            locks.entry(one).or_default().push(format!("{a}+{b}"));
        }
    }
    if locks.values().any(|names| names.len() > LOCKS_MAX) {
        return together(&pairs);
    }
    locks
}

/// Of subtasks beside each other that may change the same files, what starts in whose result: the
/// order written, where nothing else says one.
pub(super) fn chains(breakdown: &Breakdown) -> Vec<(&str, &str)> {
    let mut order = Order::new(breakdown);
    let mut chains = Vec::new();
    level(&breakdown.subtasks, &mut order, &mut chains);
    chains
}

fn level<'a>(subtasks: &'a [Subtask], order: &mut Order<'a>, chains: &mut Vec<(&'a str, &'a str)>) {
    for (index, first) in subtasks.iter().enumerate() {
        for second in &subtasks[index + 1..] {
            let (a, b) = (first.id.as_str(), second.id.as_str());
            let apart = order.is_before(a, b) || order.is_before(b, a);
            if !apart && overlap(&all_paths(first), &all_paths(second)) {
                order.chain(a, b);
                chains.push((a, b));
            }
        }
        level(&first.subtasks, order, chains);
    }
}

fn all_paths(subtask: &Subtask) -> Vec<String> {
    let mut leaves = Vec::new();
    subtask.leaves(&mut leaves);
    leaves.iter().flat_map(|leaf| leaf.paths.clone()).collect()
}

/// One lock for all that hang together, where each pair having one makes too many.
fn together<'a>(pairs: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, Vec<String>> {
    let mut sets: Vec<BTreeSet<&str>> = Vec::new();
    for (a, b) in pairs {
        let mut joined = BTreeSet::from([*a, *b]);
        sets.retain(|set| {
            let meets = set.contains(a) || set.contains(b);
            if meets {
                joined.extend(set);
            }
            !meets
        });
        sets.push(joined);
    }
    let named = sets.iter().flat_map(|set| {
        let name = set.first().copied().unwrap_or_default();
        set.iter().map(move |one| (*one, vec![format!("{name}+")]))
    });
    named.collect()
}

/// Whether some file may be meant by both.
fn overlap(these: &[String], those: &[String]) -> bool {
    these.iter().any(|this| those.iter().any(|that| meet(&segments(this), &segments(that))))
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect()
}

/// Whether two patterns can mean the same file. A folder means all that is below; what ends like a
/// file, in `.rs`, means nothing else.
fn meet(a: &[&str], b: &[&str]) -> bool {
    let ends = |ended: &[&str], rest: &[&str]| {
        let is_file = ended.last().is_some_and(|name| name.rfind('.').is_some_and(|dot| dot > 0));
        !is_file || rest.iter().all(|segment| *segment == "**")
    };
    // From the ends to the starts: whether the rests from (i, j) on meet.
    let mut table = vec![vec![true; b.len() + 1]; a.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[b.len()] = ends(b, &a[i..]);
    }
    for j in 0..=b.len() {
        table[a.len()][j] = ends(a, &b[j..]);
    }
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i][j] = if a[i] == "**" || b[j] == "**" {
                table[i + 1][j] || table[i][j + 1]
            } else {
                names_meet(a[i], b[j]) && table[i + 1][j + 1]
            };
        }
    }
    table[0][0]
}

/// Whether some name is like both. A set of letters is taken for any letter.
fn names_meet(a: &str, b: &str) -> bool {
    let (a, b) = (letters(a), letters(b));
    let mut table = vec![vec![false; b.len() + 1]; a.len() + 1];
    for i in (0..=a.len()).rev() {
        for j in (0..=b.len()).rev() {
            table[i][j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some('*'), Some(_)) => table[i + 1][j] || table[i][j + 1],
                (Some('*'), None) => table[i + 1][j],
                (Some(_), Some('*')) => table[i][j + 1] || table[i + 1][j],
                (None, Some('*')) => table[i][j + 1],
                (Some(one), Some(other)) => {
                    (one == other || *one == '?' || *other == '?') && table[i + 1][j + 1]
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
    }
    table[0][0]
}

/// The letters of a pattern, a set of letters as `?`.
fn letters(pattern: &str) -> Vec<char> {
    let mut letters = Vec::new();
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        let set = rest.as_str().find(']').filter(|end| letter == '[' && *end > 0);
        letters.push(if set.is_some() { '?' } else { letter });
        if let Some(end) = set {
            rest = rest.as_str()[end + 1..].chars();
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_some_file_is_meant_by_both() {
        for (a, b, do_meet) in [
            ("src/api", "src/api/users.rs", true),
            ("src/api", "src/web", false),
            ("src/**/*.rs", "src/api/users.rs", true),
            ("src/**/*.rs", "src/**/*.sql", false),
            ("**/*.md", "docs", true),
            ("docs/*.md", "docs/a*", true),
            ("docs/*.md", "docs/*.txt", false),
            ("a/[bc]/d", "a/b/d", true),
            (".", "anything/at/all", true),
            ("Cargo.toml", "Cargo.lock", false),
            ("src", "src2", false),
        ] {
            let meets = |a: &str, b: &str| overlap(&[a.to_owned()], &[b.to_owned()]);
            assert_eq!(meets(a, b), do_meet, "{a} {b}");
            assert_eq!(meets(b, a), do_meet, "{b} {a}");
        }
    }
}
