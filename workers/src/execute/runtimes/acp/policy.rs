//! What an agent asks for, in the words of rules, and the answer in the protocol's. It knows the kinds of
//! tools as the protocol names them.

use jobshop_engine::{
    plan::Permission,
    policy,
    question::{Kind, NewQuestion},
};
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

    /// The same in the words of rules, with what the task itself says of it.
    pub(super) fn question(&self, permissions: &[Permission]) -> NewQuestion {
        let what = vec![self.what.clone()];
        NewQuestion {
            kind: Kind::Permission,
            tool: self.tool.to_owned(),
            own: policy::own(permissions, self.tool, &what),
            what,
            texts: Vec::new(),
        }
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

#[cfg(test)]
mod tests {
    use jobshop_engine::policy::Action;

    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_and_answered_in_the_protocols_words() {
        let ask = |kind: &str, input: Value| {
            Ask::of(&json!({
                "toolCall": { "kind": kind, "title": "a title", "rawInput": input },
                "options": [{ "kind": "allow_once", "optionId": "y" }],
            }))
        };
        let push = Permission {
            tool: "bash".to_owned(),
            pattern: "git push *".to_owned(),
            action: Action::Ask,
        };
        for (kind, input, tool, what, own) in [
            (
                "execute",
                json!({ "command": "git push origin" }),
                "bash",
                "git push origin",
                Action::Ask,
            ),
            ("execute", json!({ "command": "git status" }), "bash", "git status", Action::Allow),
            ("edit", json!({ "file_path": "a.rs" }), "edit", "a.rs", Action::Allow),
            ("fetch", json!({ "url": "https://a/b" }), "webfetch", "https://a/b", Action::Allow),
            ("think", json!({}), "other", "a title", Action::Allow),
        ] {
            let question = ask(kind, input).question(std::slice::from_ref(&push));
            assert_eq!((question.tool.as_str(), question.what[0].as_str()), (tool, what));
            assert_eq!(question.own, own, "{kind}");
        }
        let answer = ask("read", json!({})).answer(true);
        assert_eq!(answer, json!({ "outcome": { "outcome": "selected", "optionId": "y" } }));
        assert_eq!(ask("read", json!({})).answer(false)["outcome"]["outcome"], "cancelled");
    }
}
