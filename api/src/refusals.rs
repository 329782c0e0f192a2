//! What a client reads when people may not decide, or a rule cannot be kept: the status and the code.

use axum::http::StatusCode;
use jobshop_engine::{
    approval::Refusal,
    store::{answers::AnswerError, approvals::VoteError, policies::PolicyError},
};

use crate::error::database;

pub(crate) fn of_vote(error: &VoteError) -> (StatusCode, &'static str) {
    match error {
        VoteError::NotFound(_) => (StatusCode::NOT_FOUND, "approval_not_found"),
        VoteError::Ended { .. } => (StatusCode::CONFLICT, "approval_ended"),
        VoteError::Refused(refusal) => of_refusal(refusal),
        VoteError::Database(error) => database(error),
    }
}

pub(crate) fn of_answer(error: &AnswerError) -> (StatusCode, &'static str) {
    match error {
        AnswerError::NotFound(_) => (StatusCode::NOT_FOUND, "inbox_entry_not_found"),
        AnswerError::Ended { .. } => (StatusCode::CONFLICT, "question_ended"),
        AnswerError::Unsuited(_) => (StatusCode::BAD_REQUEST, "unsuited_answer"),
        AnswerError::Refused(refusal) => of_refusal(refusal),
        AnswerError::Database(error) => database(error),
    }
}

const fn of_refusal(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::NotAsked(..) => (StatusCode::FORBIDDEN, "not_a_decider"),
        Refusal::OwnSession(_) => (StatusCode::FORBIDDEN, "self_approval"),
    }
}

pub(crate) fn of_policy(error: &PolicyError) -> (StatusCode, &'static str) {
    match error {
        PolicyError::NotFound(_) => (StatusCode::NOT_FOUND, "policy_not_found"),
        PolicyError::Ambiguous { .. } => (StatusCode::CONFLICT, "ambiguous_id"),
        PolicyError::Unfit(_) => (StatusCode::BAD_REQUEST, "invalid_policy"),
        PolicyError::TooMany => (StatusCode::CONFLICT, "too_many_policies"),
        PolicyError::Database(error) => database(error),
    }
}
