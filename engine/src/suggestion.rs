//! Rules that people might want, because they answered alike again and again: what was allowed or denied
//! every time, by the very thing or by what such things have in common. It keeps and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::policy::{self, Action, Patterns, Rule, Subject};

/// A permission as people answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub tool: String,
    pub what: String,
    pub allowed: bool,
    pub by: String,
}

/// A rule that nobody has made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Suggestion {
    pub action: Action,
    pub tool: String,
    #[schema(required)]
    pub command: Option<String>,
    #[schema(required)]
    pub path: Option<String>,
    #[schema(required)]
    pub host: Option<String>,
    /// So many answers say so, and none says otherwise.
    pub answers: usize,
    /// Who gave them.
    pub by: Vec<String>,
    /// What was asked for.
    pub examples: Vec<String>,
}

/// So many equal answers to the very same thing make a suggestion.
const SAME_MIN: usize = 3;
/// So many to different things that have something in common, and so many different ones.
const ALIKE_MIN: usize = 5;
const DIFFERENT_MIN: usize = 3;
const EXAMPLES_MAX: usize = 3;

/// Programs that run whatever they are told: what they have in common says nothing.
const OPEN_ENDED: [&str; 14] = [
    "bash", "sh", "zsh", "sudo", "env", "eval", "xargs", "ssh", "docker", "python", "python3",
    "node", "perl", "ruby",
];

/// What several answers have in common.
#[derive(Debug, Default)]
struct Group<'p> {
    allowed: usize,
    denied: usize,
    by: BTreeSet<&'p str>,
    what: BTreeSet<&'p str>,
}

/// Suggestions, the ones with most answers first. What rules say already is not suggested.
pub fn suggest(past: &[Past], rules: &[Rule]) -> Vec<Suggestion> {
    let mut groups: BTreeMap<(&str, String), Group<'_>> = BTreeMap::new();
    for it in past {
        for pattern in patterns(&it.tool, &it.what) {
            let group = groups.entry((&it.tool, pattern)).or_default();
            if it.allowed {
                group.allowed += 1;
            } else {
                group.denied += 1;
            }
            group.by.insert(&it.by);
            group.what.insert(&it.what);
        }
    }
    let mut found: Vec<Suggestion> = groups
        .into_iter()
        .filter_map(|((tool, pattern), group)| worth(tool, &pattern, &group, rules))
        .collect();
    let all = found.clone();
    // What a wider one says need not be said again.
    found.retain(|it| !all.iter().any(|other| other != it && covers(other, it)));
    found.sort_by(|a, b| b.answers.cmp(&a.answers).then_with(|| special(a).cmp(special(b))));
    found
}

fn worth(tool: &str, pattern: &str, group: &Group<'_>, rules: &[Rule]) -> Option<Suggestion> {
    let answers = group.allowed + group.denied;
    let is_one = group.what.len() == 1;
    let is_enough = if is_one && !pattern.contains('*') {
        answers >= SAME_MIN
    } else {
        answers >= ALIKE_MIN && group.what.len() >= DIFFERENT_MIN
    };
    if !is_enough || (group.allowed > 0 && group.denied > 0) {
        return None;
    }
    let says_so = |what: &&str| {
        let decided = policy::decide(rules, Action::Ask, tool, &[(*what).to_owned()]);
        decided.rule.is_some() && decided.action != Action::Ask
    };
    if group.what.iter().all(says_so) {
        return None;
    }
    let of = |subject| (Subject::of(tool) == subject).then(|| pattern.to_owned());
    Some(Suggestion {
        action: if group.allowed > 0 { Action::Allow } else { Action::Deny },
        tool: tool.to_owned(),
        command: of(Subject::Command),
        path: of(Subject::Path),
        host: of(Subject::Host),
        answers,
        by: group.by.iter().map(|name| (*name).to_owned()).collect(),
        examples: group.what.iter().take(EXAMPLES_MAX).map(|what| (*what).to_owned()).collect(),
    })
}

/// The rules that would fit this: for the very thing, and for its like.
fn patterns(tool: &str, what: &str) -> Vec<String> {
    // A star in it would stand for anything.
    let exact = (!what.contains('*')).then(|| what.to_owned());
    match Subject::of(tool) {
        Subject::Host => policy::host_of(what).into_iter().collect(),
        Subject::Path => {
            let folder = what.rsplit_once('/').map(|(folder, _)| format!("{folder}/*"));
            exact.into_iter().chain(folder).collect()
        }
        Subject::Command => {
            let mut words = what.split_whitespace();
            let first = words.next().filter(|first| !OPEN_ENDED.contains(first));
            let second = words.next().filter(|second| !second.starts_with('-'));
            let alike = first.into_iter().flat_map(|first| {
                let narrow = second.map(|second| format!("{first} {second} *"));
                [Some(format!("{first} *")), narrow].into_iter().flatten()
            });
            exact.into_iter().chain(alike).collect()
        }
    }
}

fn special(it: &Suggestion) -> &str {
    [&it.command, &it.path, &it.host].into_iter().flatten().next().map_or("", String::as_str)
}

/// Whether `wide` says what `narrow` says, and more.
fn covers(wide: &Suggestion, narrow: &Suggestion) -> bool {
    let patterns = Patterns {
        tool: wide.tool.clone(),
        command: wide.command.clone(),
        path: wide.path.clone(),
        host: wide.host.clone(),
    };
    let rule = Rule {
        id: uuid::Uuid::nil(),
        patterns,
        action: wide.action,
        asking: policy::Asking::default(),
    };
    let rules = [rule];
    wide.action == narrow.action
        && wide.tool == narrow.tool
        && special(wide).len() < special(narrow).len()
        && narrow.examples.iter().all(|what| {
            policy::decide(&rules, Action::Ask, &narrow.tool, std::slice::from_ref(what))
                .rule
                .is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(what: &str, allowed: bool) -> Past {
        let tool = if what.contains("://") { "webfetch" } else { "bash" };
        Past { tool: tool.to_owned(), what: what.to_owned(), allowed, by: "anna".to_owned() }
    }

    fn suggested(past: &[Past]) -> Vec<String> {
        let found = suggest(past, &[]);
        found.iter().map(|it| format!("{} {}", it.action.as_str(), special(it))).collect()
    }

    #[test]
    fn equal_answers_make_a_rule_and_unequal_ones_none() {
        let mut all = vec![past("make", true); 3];
        assert_eq!(suggested(&all), ["allow make"]);
        all.push(past("make", false));
        assert_eq!(suggested(&all), [""; 0]);
        assert_eq!(suggested(&vec![past("make", true); 2]), [""; 0]);
    }

    #[test]
    fn what_different_things_have_in_common_is_suggested_once() {
        let mut all: Vec<Past> = ["test", "build", "clippy"]
            .iter()
            .map(|it| past(&format!("cargo {it} -q"), true))
            .collect();
        all.extend(vec![past("cargo test -q", true); 3]);
        assert_eq!(suggested(&all), ["allow cargo *"]);
        let shells: Vec<Past> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|it| past(&format!("bash -c {it}"), true))
            .collect();
        assert_eq!(suggested(&shells), [""; 0]);
        let pages: Vec<Past> = (0..3).map(|n| past(&format!("https://a.org/{n}"), false)).collect();
        assert_eq!(suggested(&pages), [""; 0]);
        let pages: Vec<Past> = (0..5).map(|n| past(&format!("https://a.org/{n}"), false)).collect();
        assert_eq!(suggested(&pages), ["deny a.org"]);
    }

    #[test]
    fn what_a_rule_says_already_is_not_suggested() {
        let rule = Rule {
            id: uuid::Uuid::nil(),
            patterns: Patterns { tool: "bash".to_owned(), ..Patterns::default() },
            action: Action::Allow,
            asking: policy::Asking::default(),
        };
        assert_eq!(suggest(&vec![past("make", true); 9], &[rule]), []);
    }
}
