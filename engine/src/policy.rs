//! Rules about what agents may do: patterns of tools, commands, paths and hosts, and what the first
//! rule that fits says. Values come in, a decision goes out; it knows no rows, and no agent's protocol.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use crate::plan::PermissionAction as Action;
use crate::{duration::Span, plan::Permission};

/// The tool under whose name rules speak of questions that agents ask.
pub const QUESTION: &str = "question";
/// How long people have where nothing says so.
pub const TIMEOUT: Span = Span { ms: 24 * 60 * 60 * 1000 };
const PATTERN_BYTES_MAX: usize = 1_000;

/// What happens when nobody answers in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    #[default]
    Deny,
    Allow,
    /// It stays open for as long again, and any admin may answer; then it is denied.
    Escalate,
}

impl OnTimeout {
    pub const ALL: [Self; 3] = [Self::Deny, Self::Allow, Self::Escalate];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}

/// How people are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Names of keys and roles; empty: every key that may submit.
    pub from: Vec<String>,
    /// So many have to allow it; one denial decides.
    pub quorum: i32,
    pub timeout: Span,
    pub on_timeout: OnTimeout,
}

impl Default for Asking {
    fn default() -> Self {
        Self { from: Vec::new(), quorum: 1, timeout: TIMEOUT, on_timeout: OnTimeout::Deny }
    }
}

/// What a rule is about. In each pattern `*` stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `bash`, `edit`, `webfetch`, …
    pub tool: String,
    pub command: Option<String>,
    pub path: Option<String>,
    pub host: Option<String>,
}

/// A rule of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: Uuid,
    pub patterns: Patterns,
    pub action: Action,
    /// Of a rule that asks.
    pub asking: Asking,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("a pattern has 1 to 1000 characters")]
    Length,
    #[error("a rule names at most one of `command`, `path` and `host`")]
    Several,
    #[error("no rule can answer a question: a rule about `question` says `deny` or `ask`")]
    Question,
    #[error("a quorum is at least 1")]
    Quorum,
    #[error("a timeout is 1 s to 90 d")]
    Timeout,
}

impl Rule {
    /// Whether it can be kept as it is.
    pub fn check(&self) -> Result<(), Unfit> {
        const LONGEST_MS: u64 = 90 * 24 * 60 * 60 * 1000;
        let Patterns { tool, command, path, host } = &self.patterns;
        let special: Vec<&String> = [command, path, host].into_iter().flatten().collect();
        let has_length = |text: &&String| (1..=PATTERN_BYTES_MAX).contains(&text.len());
        if !special.iter().all(has_length) || !has_length(&tool) {
            return Err(Unfit::Length);
        }
        if special.len() > 1 {
            return Err(Unfit::Several);
        }
        if tool == QUESTION && self.action == Action::Allow {
            return Err(Unfit::Question);
        }
        if self.asking.quorum < 1 {
            return Err(Unfit::Quorum);
        }
        if !(1_000..=LONGEST_MS).contains(&self.asking.timeout.ms) {
            return Err(Unfit::Timeout);
        }
        Ok(())
    }

    /// Whether it speaks of a tool at all.
    pub fn governs(&self, tool: &str) -> bool {
        // A rule for every tool does not take questions from an agent, nor answer them.
        fits(&self.patterns.tool, tool) && (tool != QUESTION || self.patterns.tool == QUESTION)
    }

    fn fits(&self, tool: &str, what: &str) -> bool {
        let Patterns { command, path, host, .. } = &self.patterns;
        if !self.governs(tool) {
            return false;
        }
        let subject = Subject::of(tool);
        match (command, path, host) {
            (None, None, None) => true,
            (Some(pattern), ..) => {
                subject == Subject::Command && fits_command(pattern, what, self.action)
            }
            (_, Some(pattern), _) => {
                subject == Subject::Path && fits_path(pattern, what, self.action)
            }
            (.., Some(pattern)) => {
                let found = host_of(what).filter(|_| subject == Subject::Host);
                found.is_some_and(|found| fits(&pattern.to_ascii_lowercase(), &found))
            }
        }
    }
}

/// What a tool works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Command,
    Host,
    Path,
}

impl Subject {
    pub fn of(tool: &str) -> Self {
        match tool {
            "bash" => Self::Command,
            "webfetch" | "websearch" => Self::Host,
            _ => Self::Path,
        }
    }
}

/// What was decided, and by which rule; none: by the workflow's own permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided<'r> {
    pub action: Action,
    pub rule: Option<&'r Rule>,
}

/// What the rules say of a tool that is to work on all of these. A refusal by the workflow stays one;
/// else the first rule that fits decides, and where none does, the workflow. Of several things the
/// strictest answer counts for all.
pub fn decide<'r>(rules: &'r [Rule], own: Action, tool: &str, what: &[String]) -> Decided<'r> {
    if own == Action::Deny {
        return Decided { action: own, rule: None };
    }
    let of_one = |what: &str| {
        let rule = rules.iter().find(|rule| rule.fits(tool, what));
        Decided { action: rule.map_or(own, |rule| rule.action), rule }
    };
    if what.is_empty() {
        return of_one("");
    }
    let mut strictest: Option<Decided<'r>> = None;
    for decided in what.iter().map(|it| of_one(it)) {
        if strictest.is_none_or(|so_far| strictness(decided.action) > strictness(so_far.action)) {
            strictest = Some(decided);
        }
    }
    strictest.unwrap_or(Decided { action: own, rule: None })
}

const fn strictness(action: Action) -> u8 {
    match action {
        Action::Allow => 0,
        Action::Ask => 1,
        Action::Deny => 2,
    }
}

/// What the workflow itself says: the last of its permissions that fits decides, of several things the
/// strictest; without one everything is allowed.
pub fn own(permissions: &[Permission], tool: &str, what: &[String]) -> Action {
    let of_one = |what: &str| {
        let rule = permissions
            .iter()
            .rev()
            .find(|rule| fits(&rule.tool, tool) && fits(&rule.pattern, what));
        rule.map_or(Action::Allow, |rule| rule.action)
    };
    if what.is_empty() {
        return of_one("");
    }
    let found = what.iter().map(|it| of_one(it));
    found.max_by_key(|action| strictness(*action)).unwrap_or(Action::Allow)
}

/// Whether a text fits a pattern in which `*` stands for anything.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// Who is allowed `git *` is not allowed `git status; rm -rf .`: all parts of a command have to fit,
/// and none may hide another. Who is denied `rm *` may not have it as a part either.
fn fits_command(pattern: &str, command: &str, action: Action) -> bool {
    let mut parts = parts(command).peekable();
    if action != Action::Allow {
        return fits(pattern, command.trim()) || parts.any(|part| fits(pattern, part));
    }
    let hides = ["`", "$(", "<(", ">", "<", "\\\n"].iter().any(|sign| command.contains(sign));
    if pattern == "*" {
        return true;
    }
    !hides && parts.peek().is_some() && parts.all(|part| fits(pattern, part))
}

/// The commands that a line of a shell has one after another.
fn parts(command: &str) -> impl Iterator<Item = &str> {
    let separates = |letter: char| matches!(letter, ';' | '&' | '|' | '\n' | '(' | ')');
    command.split(separates).map(str::trim).filter(|part| !part.is_empty())
}

/// A path that climbs fits no rule that allows.
fn fits_path(pattern: &str, path: &str, action: Action) -> bool {
    let climbs = path.split('/').any(|part| part == "..");
    if climbs && action == Action::Allow && pattern != "*" {
        return false;
    }
    fits(pattern, path.strip_prefix("./").unwrap_or(path))
}

/// The host of an address, without its port.
pub fn host_of(address: &str) -> Option<String> {
    let (_, rest) = address.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => host.split(':').next()?,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tool: &str, special: (&str, &str), action: Action) -> Rule {
        let mut patterns = Patterns { tool: tool.to_owned(), ..Patterns::default() };
        let pattern = Some(special.1.to_owned());
        match special.0 {
            "command" => patterns.command = pattern,
            "path" => patterns.path = pattern,
            "host" => patterns.host = pattern,
            _ => {}
        }
        Rule { id: Uuid::nil(), patterns, action, asking: Asking::default() }
    }

    fn says(rules: &[Rule], own: Action, tool: &str, what: &str) -> Action {
        decide(rules, own, tool, &[what.to_owned()]).action
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, is_match) in [
            ("*", "anything", true),
            ("git push *", "git push origin", true),
            ("git push *", "git status", false),
            ("*.rs", "a/b.rs", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("bash", "bash", true),
            ("bash", "bashful", false),
        ] {
            assert_eq!(fits(pattern, text), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_the_workflow_can_only_forbid_more() {
        let rules = [
            rule("bash", ("command", "cargo *"), Action::Allow),
            rule("bash", ("", ""), Action::Ask),
            rule("webfetch", ("host", "*.example.org"), Action::Deny),
        ];
        for (own, tool, what, action) in [
            (Action::Ask, "bash", "cargo test", Action::Allow),
            (Action::Allow, "bash", "make", Action::Ask),
            (Action::Deny, "bash", "cargo test", Action::Deny),
            (Action::Allow, "edit", "src/a.rs", Action::Allow),
            (Action::Ask, "edit", "src/a.rs", Action::Ask),
            (Action::Allow, "webfetch", "https://A.example.org:8443/x", Action::Deny),
            (Action::Allow, "webfetch", "https://example.com/?a.example.org", Action::Allow),
            (Action::Allow, "webfetch", "https://example.com\\@a.example.org", Action::Allow),
            (Action::Allow, "webfetch", "https://me@a.example.org/", Action::Deny),
        ] {
            assert_eq!(says(&rules, own, tool, what), action, "{own:?} {tool} {what}");
        }
        let both = ["cargo test".to_owned(), "make".to_owned()];
        assert_eq!(decide(&rules, Action::Allow, "bash", &both).action, Action::Ask);
        assert_eq!(decide(&rules, Action::Allow, "bash", &both).rule, Some(&rules[1]));
    }

    #[test]
    fn a_command_that_is_allowed_hides_no_other_and_one_that_is_denied_is_no_part() {
        let allowed = [rule("bash", ("command", "git *"), Action::Allow)];
        let denied = [rule("bash", ("command", "rm *"), Action::Deny)];
        for (command, allows, denies) in [
            ("git status", true, false),
            ("git add . && git commit", true, false),
            ("git status; rm -rf .", false, true),
            ("git log $(rm -rf .)", false, true),
            ("git log > /etc/passwd", false, false),
            ("git status & make", false, false),
            ("(rm -rf .)", false, true),
        ] {
            let may = says(&allowed, Action::Ask, "bash", command) == Action::Allow;
            let may_not = says(&denied, Action::Ask, "bash", command) == Action::Deny;
            assert_eq!((may, may_not), (allows, denies), "{command}");
        }
        let docs = [rule("edit", ("path", "docs/*"), Action::Allow)];
        assert_eq!(says(&docs, Action::Ask, "edit", "docs/a.md"), Action::Allow);
        assert_eq!(says(&docs, Action::Ask, "edit", "docs/../src/a.rs"), Action::Ask);
    }

    #[test]
    fn a_rule_for_every_tool_is_none_for_questions() {
        let every = [rule("*", ("", ""), Action::Deny)];
        assert_eq!(says(&every, Action::Ask, QUESTION, ""), Action::Ask);
        let own = [rule(QUESTION, ("", ""), Action::Deny)];
        assert_eq!(says(&own, Action::Ask, QUESTION, ""), Action::Deny);
        assert_eq!(rule(QUESTION, ("", ""), Action::Allow).check(), Err(Unfit::Question));
    }

    #[test]
    fn the_last_permission_of_the_workflow_that_fits_decides() {
        let permission = |tool: &str, pattern: &str, action| Permission {
            tool: tool.to_owned(),
            pattern: pattern.to_owned(),
            action,
        };
        let permissions = [
            permission("bash", "*", Action::Deny),
            permission("bash", "git *", Action::Allow),
            permission("edit", "*", Action::Ask),
        ];
        let says = |tool: &str, what: &str| own(&permissions, tool, &[what.to_owned()]);
        assert_eq!(says("bash", "git status"), Action::Allow);
        assert_eq!(says("bash", "rm -rf x"), Action::Deny);
        assert_eq!(says("edit", "x"), Action::Ask);
        assert_eq!(says("read", "x"), Action::Allow);
    }
}
