//! What agents ask of people, permissions and questions alike: what makes two of them the same, who may
//! answer, and what answers come to. Values come in, a verdict goes out; it knows no rows and no clock.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    approval::{Question as Asked, Refusal, Voter, Weight},
    policy::{Action, OnTimeout},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To be allowed something.
    Permission,
    /// To be told something.
    Question,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Permission, Self::Question];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    Answered,
    /// Nobody answered in time: what its rule says for that case was done.
    Expired,
    /// Nobody waits for it any more.
    Closed,
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Open, Self::Answered, Self::Expired, Self::Closed];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Closed => "closed",
        }
    }
}

/// One of the things that a question asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Text {
    pub text: String,
    /// Answers that the agent offers; another one may be given.
    #[serde(default)]
    pub options: Vec<String>,
}

/// What an agent asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQuestion {
    pub kind: Kind,
    /// `bash`, `edit`, …; `question`.
    pub tool: String,
    /// Commands, paths or addresses that it is about.
    pub what: Vec<String>,
    /// Of a question.
    pub texts: Vec<Text>,
    /// What the workflow says of it.
    pub own: Action,
}

impl NewQuestion {
    /// What makes it the same as one that another attempt asked.
    pub fn digest(&self) -> Vec<u8> {
        let said = serde_json::json!([self.kind, self.tool, self.what, self.texts]);
        Sha256::digest(said.to_string().as_bytes()).to_vec()
    }

    /// What people read.
    pub fn message(&self) -> String {
        message(self.kind, &self.tool, &self.what, &self.texts)
    }
}

/// A question in words.
pub fn message(kind: Kind, tool: &str, what: &[String], texts: &[Text]) -> String {
    match kind {
        Kind::Permission if what.is_empty() => tool.to_owned(),
        Kind::Permission => format!("{tool}: {}", what.join(", ")),
        Kind::Question => {
            let texts: Vec<&str> = texts.iter().map(|it| it.text.as_str()).collect();
            texts.join(" / ")
        }
    }
}

/// What people say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Allow,
    Deny,
    /// To each of the texts of a question.
    Say(Vec<String>),
}

impl Answer {
    pub const fn allows(&self) -> bool {
        matches!(self, Self::Allow | Self::Say(_))
    }

    /// Whether this can be said to a question of that kind with so many texts.
    pub fn suits(&self, kind: Kind, texts: usize) -> bool {
        match (self, kind) {
            (Self::Deny, _) | (Self::Allow, Kind::Permission) => true,
            (Self::Say(said), Kind::Question) => said.len() == texts.max(1),
            (Self::Allow, Kind::Question) | (Self::Say(_), Kind::Permission) => false,
        }
    }
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Allow,
    Deny { why: String },
    Say(Vec<String>),
}

impl Reply {
    /// What was decided, and by whom, in words for the agent.
    pub fn of(
        allowed: bool,
        answers: Option<Vec<String>>,
        by: &str,
        comment: Option<&str>,
    ) -> Self {
        if allowed {
            return answers.map_or(Self::Allow, Self::Say);
        }
        let mut why = format!("denied by {by}");
        if let Some(comment) = comment {
            why.push_str(": ");
            why.push_str(comment);
        }
        Self::Deny { why }
    }

    /// The same in a line, for whoever was not there to hear it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Allow => "allowed".to_owned(),
            Self::Deny { why } => why.clone(),
            Self::Say(answers) => answers.join(" / "),
        }
    }
}

/// Whether this voter's answer counts, and whether it decides: what so many others have allowed
/// before.
pub fn verdict(
    asked: &Asked,
    voter: Voter<'_>,
    answer: &Answer,
    others: i64,
) -> Result<bool, Refusal> {
    let weight = asked.weight_of(voter)?;
    // Two different answers cannot both be heard.
    let is_said = matches!(answer, Answer::Deny | Answer::Say(_));
    Ok(is_said || weight == Weight::All || others + 1 >= i64::from(asked.quorum))
}

/// What happens when nobody answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Allow,
    Deny,
    Escalate,
}

/// What the rule says for the end of the time. A question cannot be answered by it.
pub const fn at_timeout(kind: Kind, on_timeout: OnTimeout, is_escalated: bool) -> Expiry {
    match (on_timeout, kind) {
        (OnTimeout::Allow, Kind::Permission) => Expiry::Allow,
        (OnTimeout::Escalate, _) if !is_escalated => Expiry::Escalate,
        _ => Expiry::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;

    fn asked(quorum: i32, is_escalated: bool) -> Asked {
        Asked { from: Vec::new(), quorum, barred: None, is_escalated }
    }

    #[test]
    fn a_quorum_allows_one_denies_and_an_escalated_admin_decides_alone() {
        let anna = Voter { name: "anna", role: Role::Operator };
        let root = Voter { name: "root", role: Role::Admin };
        let two = asked(2, false);
        assert_eq!(verdict(&two, anna, &Answer::Allow, 0), Ok(false));
        assert_eq!(verdict(&two, anna, &Answer::Allow, 1), Ok(true));
        assert_eq!(verdict(&two, anna, &Answer::Deny, 0), Ok(true));
        assert_eq!(verdict(&asked(2, true), root, &Answer::Allow, 0), Ok(true));
        let viewer = Voter { name: "v", role: Role::Viewer };
        assert!(verdict(&two, viewer, &Answer::Deny, 0).is_err());
    }

    #[test]
    fn time_answers_no_question() {
        for (kind, on_timeout, escalated, expiry) in [
            (Kind::Permission, OnTimeout::Deny, false, Expiry::Deny),
            (Kind::Permission, OnTimeout::Allow, false, Expiry::Allow),
            (Kind::Question, OnTimeout::Allow, false, Expiry::Deny),
            (Kind::Question, OnTimeout::Escalate, false, Expiry::Escalate),
            (Kind::Permission, OnTimeout::Escalate, true, Expiry::Deny),
        ] {
            assert_eq!(at_timeout(kind, on_timeout, escalated), expiry, "{kind:?} {on_timeout:?}");
        }
    }

    #[test]
    fn an_answer_suits_what_was_asked() {
        let said = |count: usize| Answer::Say(vec!["x".to_owned(); count]);
        assert!(said(2).suits(Kind::Question, 2) && !said(1).suits(Kind::Question, 2));
        assert!(!said(1).suits(Kind::Permission, 0) && !Answer::Allow.suits(Kind::Question, 1));
        assert!(Answer::Deny.suits(Kind::Question, 1) && Answer::Allow.suits(Kind::Permission, 0));
    }
}
