//! Approvals: who may decide one, what votes come to, and what becomes of the task. Values come in,
//! a verdict goes out; it knows no rows and no clock.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    outcome::{ErrorClass, Failure},
    plan::{Approval, OnReject, OnTimeout},
    role::Role,
    task::TaskState,
};

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    Approved,
    Rejected,
    /// Nobody decided in time: what the workflow says for that case was done.
    Expired,
    /// Its task was ended by something else, such as a cancel.
    Closed,
}

impl Status {
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Approved, Self::Rejected, Self::Expired, Self::Closed];

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Closed => "closed",
        }
    }
}

/// What a person, or the end of the time, decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approve,
    Reject,
}

impl Decision {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// Who is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Names of keys and roles; empty: every key that may submit.
    pub from: Vec<String>,
    pub quorum: i32,
    /// The key that may not decide.
    pub barred: Option<String>,
    /// Nobody decided in time, so that any admin may.
    pub is_escalated: bool,
}

/// Who votes.
#[derive(Debug, Clone, Copy)]
pub struct Voter<'a> {
    pub name: &'a str,
    pub role: Role,
}

/// What one voter said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    pub by: String,
    pub approves: bool,
}

/// How much a vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// One of the quorum.
    One,
    /// All of it: an admin, once the approval was escalated.
    All,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("`{0}` may not decide this: {1} may")]
    NotAsked(String, String),
    #[error("`{0}` submitted the session, and the workflow says `no_self_approval`")]
    OwnSession(String),
}

/// What the votes come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many of the quorum have approved.
    Open(i32),
    Decided(Decision),
}

impl Question {
    /// Whether this voter may decide, and how much that counts.
    pub fn weight_of(&self, voter: Voter<'_>) -> Result<Weight, Refusal> {
        if self.barred.as_deref() == Some(voter.name) {
            return Err(Refusal::OwnSession(voter.name.to_owned()));
        }
        if self.is_escalated && voter.role == Role::Admin {
            return Ok(Weight::All);
        }
        let is_asked = voter.role >= Role::Operator
            && (self.from.is_empty()
                || self.from.iter().any(|name| {
                    name == voter.name || name.parse::<Role>().is_ok_and(|role| role <= voter.role)
                }));
        if is_asked {
            return Ok(Weight::One);
        }
        Err(Refusal::NotAsked(voter.name.to_owned(), self.deciders()))
    }

    /// Who may decide, in words.
    pub fn deciders(&self) -> String {
        let quoted = |name: &String| match name.parse::<Role>() {
            Ok(role) => format!("any {role}"),
            Err(_) => format!("`{name}`"),
        };
        let mut names: Vec<String> = self.from.iter().map(quoted).collect();
        if names.is_empty() {
            names.push("any operator".to_owned());
        }
        if self.is_escalated {
            names.push("any admin alone".to_owned());
        }
        names.join(", ")
    }

    /// What the votes come to once the last of them, of this weight, is in. One rejection decides.
    pub fn verdict(&self, votes: &[Vote], last: Decision, weight: Weight) -> Verdict {
        if last == Decision::Reject {
            return Verdict::Decided(Decision::Reject);
        }
        let approvals = votes.iter().filter(|vote| vote.approves).count();
        let approvals = i32::try_from(approvals).unwrap_or(i32::MAX);
        if weight == Weight::All || approvals >= self.quorum {
            Verdict::Decided(Decision::Approve)
        } else {
            Verdict::Open(approvals)
        }
    }
}

/// What happens when nobody decided in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Decide(Decision),
    /// It stays open for as long again, and any admin may decide.
    Escalate,
}

/// What the workflow says for the end of the time.
pub const fn at_timeout(spec: &Approval, is_escalated: bool) -> Expiry {
    match spec.on_timeout {
        OnTimeout::Approve => Expiry::Decide(Decision::Approve),
        OnTimeout::Escalate if !is_escalated => Expiry::Escalate,
        OnTimeout::Reject | OnTimeout::Escalate => Expiry::Decide(Decision::Reject),
    }
}

/// Who is named when nobody decided in time.
pub const BY_TIMEOUT: &str = "timeout";

/// What somebody says with a vote.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Said<'a> {
    #[default]
    Nothing,
    Comment(&'a str),
    /// Another plan than the one that is asked about: it is followed.
    Plan(&'a Value),
}

impl<'a> From<Option<&'a str>> for Said<'a> {
    fn from(comment: Option<&'a str>) -> Self {
        comment.map_or(Self::Nothing, Self::Comment)
    }
}

impl Said<'_> {
    /// The same as the comment that people read.
    pub fn in_words(self) -> Option<String> {
        match self {
            Said::Nothing => None,
            Said::Comment(text) => Some(text.to_owned()),
            Said::Plan(plan) => Some(plan.to_string()),
        }
    }
}

/// What becomes of the task: its state, its outputs, and why it failed.
pub fn end(
    spec: &Approval,
    decision: Decision,
    by: &str,
    said: Said<'_>,
) -> (TaskState, Value, Option<Failure>) {
    let comment = said.in_words();
    let mut outputs = json!({ "decision": decision, "by": by, "comment": comment });
    if let Said::Plan(plan) = said {
        outputs["plan"] = plan.clone();
    }
    if decision == Decision::Approve || spec.on_reject == OnReject::Continue {
        return (TaskState::Completed, outputs, None);
    }
    let mut why = if by == BY_TIMEOUT {
        "nobody decided in time".to_owned()
    } else {
        format!("rejected by {by}")
    };
    if let Some(comment) = comment {
        why.push_str(": ");
        why.push_str(&comment);
    }
    (TaskState::Failed, outputs, Some(Failure::new(ErrorClass::Rejected, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(from: &[&str], quorum: i32) -> Question {
        let from = from.iter().map(|name| (*name).to_owned()).collect();
        Question { from, quorum, barred: None, is_escalated: false }
    }

    const fn voter(name: &str, role: Role) -> Voter<'_> {
        Voter { name, role }
    }

    fn vote(by: &str, approves: bool) -> Vote {
        Vote { by: by.to_owned(), approves }
    }

    fn spec(on_reject: OnReject, on_timeout: OnTimeout) -> Approval {
        Approval {
            from: Vec::new(),
            quorum: 1,
            message: None,
            on_reject,
            on_timeout,
            bars_submitter: false,
        }
    }

    #[test]
    fn keys_and_roles_may_be_asked_and_viewers_never_decide() {
        let anna = voter("anna", Role::Operator);
        let viewer = voter("lead", Role::Viewer);
        for (from, who, may) in [
            (&[][..], anna, true),
            (&["anna"], anna, true),
            (&["bert"], anna, false),
            (&["operator"], anna, true),
            (&["admin"], anna, false),
            (&["operator"], voter("x", Role::Admin), true),
            (&["bert"], voter("x", Role::Admin), false),
            (&["lead"], viewer, false),
            (&[], viewer, false),
        ] {
            assert_eq!(question(from, 1).weight_of(who).is_ok(), may, "{from:?} {who:?}");
        }
    }

    #[test]
    fn who_submitted_may_be_barred_even_after_an_escalation() {
        let mut question = question(&[], 1);
        question.barred = Some("anna".to_owned());
        question.is_escalated = true;
        let refused = question.weight_of(voter("anna", Role::Admin));
        assert_eq!(refused, Err(Refusal::OwnSession("anna".to_owned())));
        assert_eq!(question.weight_of(voter("bert", Role::Admin)), Ok(Weight::All));
    }

    #[test]
    fn a_quorum_approves_one_rejects_and_an_escalated_admin_decides_alone() {
        let question = question(&[], 2);
        let one = [vote("anna", true)];
        let two = [vote("anna", true), vote("bert", true)];
        let turned = [vote("anna", false)];
        let (approve, reject) = (Decision::Approve, Decision::Reject);
        assert_eq!(question.verdict(&one, approve, Weight::One), Verdict::Open(1));
        assert_eq!(question.verdict(&two, approve, Weight::One), Verdict::Decided(approve));
        assert_eq!(question.verdict(&turned, reject, Weight::One), Verdict::Decided(reject));
        assert_eq!(question.verdict(&one, approve, Weight::All), Verdict::Decided(approve));
    }

    #[test]
    fn an_escalation_comes_once() {
        let spec = spec(OnReject::Fail, OnTimeout::Escalate);
        assert_eq!(at_timeout(&spec, false), Expiry::Escalate);
        assert_eq!(at_timeout(&spec, true), Expiry::Decide(Decision::Reject));
    }

    #[test]
    fn a_rejection_fails_the_task_unless_the_workflow_goes_on() {
        let fail = spec(OnReject::Fail, OnTimeout::Reject);
        let (state, outputs, failure) =
            end(&fail, Decision::Reject, "anna", Said::Comment("not yet"));
        assert_eq!(state, TaskState::Failed);
        assert_eq!(outputs, json!({ "decision": "reject", "by": "anna", "comment": "not yet" }));
        let failure = failure.unwrap();
        assert_eq!(failure.class, ErrorClass::Rejected);
        assert_eq!(failure.message, "rejected by anna: not yet");
        let go_on = spec(OnReject::Continue, OnTimeout::Reject);
        let (state, _, failure) = end(&go_on, Decision::Reject, BY_TIMEOUT, Said::Nothing);
        assert_eq!((state, failure), (TaskState::Completed, None));
    }
}
