//! What an agent that asks may do: the task's permissions, the last rule that matches deciding. It
//! knows the kinds of tools as the protocol names them.

use jobshop_engine::plan::{Permission, PermissionAction};
use serde_json::{Value, json};

/// Something an agent wants to be allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    tool: &'static str,
    what: String,
    allow: Option<String>,
    reject: Option<String>,
}

impl Ask {
    pub(super) fn of(content: &Value) -> Self {
        let call = &content["toolCall"];
        let tool = match call["kind"].as_str().unwrap_or_default() {
            "execute" => "bash",
            "edit" | "delete" | "move" => "edit",
            "read" => "read",
            "search" => "grep",
            "fetch" => "webfetch",
            _ => "other",
        };
        let input = &call["rawInput"];
        let known = ["command", "file_path", "filePath", "path", "url"];
        let what = known.into_iter().find_map(|name| input[name].as_str());
        let what = what.or_else(|| call["title"].as_str()).unwrap_or_default().to_owned();
        let options = content["options"].as_array();
        let option = |kinds: [&str; 2]| {
            let id = |kind: &str| {
                let found = options?.iter().find(|option| option["kind"] == kind)?;
                found["optionId"].as_str().map(str::to_owned)
            };
            kinds.into_iter().find_map(id)
        };
        Self {
            tool,
            what,
            allow: option(["allow_once", "allow_always"]),
            reject: option(["reject_once", "reject_always"]),
        }
    }

    pub(super) fn about(&self) -> String {
        format!("{}: {}", self.tool, self.what)
    }

    /// The answer in the protocol's words.
    pub(super) fn answer(&self, allowed: bool) -> Value {
        let option = if allowed { &self.allow } else { &self.reject };
        match option {
            Some(id) => json!({ "outcome": { "outcome": "selected", "optionId": id } }),
            None => json!({ "outcome": { "outcome": "cancelled" } }),
        }
    }
}

/// Whether the rules let it happen without anybody being asked; without a rule they do.
pub(super) fn allows(permissions: &[Permission], ask: &Ask) -> bool {
    let rule = permissions
        .iter()
        .rev()
        .find(|rule| matches(&rule.tool, ask.tool) && matches(&rule.pattern, &ask.what));
    rule.is_none_or(|rule| rule.action == PermissionAction::Allow)
}

/// `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides_and_nobody_can_be_asked() {
        let rule = |tool: &str, pattern: &str, action| Permission {
            tool: tool.to_owned(),
            pattern: pattern.to_owned(),
            action,
        };
        let rules = [
            rule("bash", "*", PermissionAction::Deny),
            rule("bash", "git *", PermissionAction::Allow),
            rule("edit", "*", PermissionAction::Ask),
        ];
        let ask = |kind: &str, command: &str| {
            Ask::of(&json!({
                "toolCall": { "kind": kind, "rawInput": { "command": command } },
                "options": [{ "kind": "allow_once", "optionId": "y" }],
            }))
        };
        assert!(allows(&rules, &ask("execute", "git status")));
        assert!(!allows(&rules, &ask("execute", "rm -rf x")));
        assert!(!allows(&rules, &ask("edit", "x")));
        assert!(allows(&rules, &ask("read", "x")));
        let answer = ask("read", "x").answer(true);
        assert_eq!(answer, json!({ "outcome": { "outcome": "selected", "optionId": "y" } }));
        assert_eq!(ask("read", "x").answer(false)["outcome"]["outcome"], "cancelled");
    }
}
