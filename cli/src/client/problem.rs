//! What the server refused, as a failure with its exit code.

use serde::{Deserialize, Serialize};

use super::Server;
use crate::exit::{Exit, Failure};

/// The body of a refusal (RFC 9457). Everything in it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    problems: Vec<WorkflowProblem>,
}

/// One thing that is wrong with a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowProblem {
    /// Which of several definitions it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default)]
    pub line: usize,
    #[serde(default)]
    pub column: usize,
    pub message: String,
    #[serde(default)]
    pub hint: Option<String>,
}

pub(super) fn refusal(server: &Server, status: u16, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let exit = exit_of(status);
    let told = problem.detail.or(problem.title).filter(|_| status != 401);
    let mut message = told.unwrap_or_else(|| match status {
        401 | 403 => format!("the server at {} refuses the token", server.url),
        404 => "the server has no such thing".to_owned(),
        _ => format!("the server answered with status {status}"),
    });
    for it in &problem.problems {
        let place =
            if it.line > 0 { format!("{}:{}: ", it.line, it.column) } else { String::new() };
        let file = it.file.as_ref().map(|file| format!("{file}:")).unwrap_or_default();
        message.extend(["\n  ", &file, &place, &it.message]);
        message.extend(it.hint.as_ref().map(|hint| format!(" ({hint})")));
    }
    let failure = Failure::new(exit, message);
    match (exit, problem.code.as_deref()) {
        (Exit::Auth, _) if status == 401 => failure.hint(server.token_advice()),
        (Exit::Temporary, _) => failure.hint("try again in a moment; the server's log says more"),
        (Exit::Conflict, Some("no_place")) => failure.hint("try again when one of them has ended"),
        (Exit::NotFound, Some("session_archived")) => {
            failure.hint("`jobshop session list --archived` shows what was archived")
        }
        (Exit::NotFound, Some(code)) if code.contains("approval") || code.contains("inbox") => {
            failure.hint("`jobshop inbox` shows what is open")
        }
        (Exit::NotFound, Some(code)) if code.contains("policy") => {
            failure.hint("`jobshop policy list` shows the rules")
        }
        (Exit::NotFound, Some(code)) if code.contains("session") => {
            failure.hint("`jobshop session list` shows the sessions")
        }
        (Exit::NotFound, Some(code)) if code.contains("schedule") => {
            failure.hint("`jobshop schedule list` shows the schedules")
        }
        (Exit::NotFound, Some(code)) if code.contains("workflow") => {
            failure.hint("`jobshop workflow list` shows the workflows")
        }
        _ => failure,
    }
}

fn exit_of(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::Auth,
        404 | 410 => Exit::NotFound,
        409 | 412 | 428 => Exit::Conflict,
        408 | 425 | 429 | 500.. => Exit::Temporary,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Failure {
        let server = Server::own("http://127.0.0.1:1", "t".into()).unwrap();
        refusal(&server, status, body.as_bytes())
    }

    #[test]
    fn every_status_has_its_exit_code() {
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Auth),
            (403, Exit::Auth),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (410, Exit::NotFound),
            (412, Exit::Conflict),
            (413, Exit::Usage),
            (422, Exit::Usage),
            (429, Exit::Temporary),
            (500, Exit::Temporary),
            (503, Exit::Temporary),
        ] {
            assert_eq!(refused(status, "").exit, exit, "{status}");
        }
    }

    #[test]
    fn a_problem_is_told_in_the_servers_words() {
        let told = refused(
            404,
            r#"{"title": "Not found", "detail": "no session ends with `abcdef`", "code": "session_not_found"}"#,
        );
        assert_eq!(told.message, "no session ends with `abcdef`");
        assert_eq!(told.hint.unwrap(), "`jobshop session list` shows the sessions");
        let told = refused(
            422,
            r#"{"title": "Invalid workflow", "problems": [{"line": 3, "column": 5, "message": "unknown key `iff`", "hint": "write `when`"}]}"#,
        );
        assert_eq!(told.message, "Invalid workflow\n  3:5: unknown key `iff` (write `when`)");
        assert_eq!(refused(502, "<html>").message, "the server answered with status 502");
    }
}
