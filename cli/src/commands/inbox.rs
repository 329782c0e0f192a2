//! `jobshop inbox`, `approve` and `reject`: what tasks ask of people.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use jobshop_engine::{decompose, workflow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::read_text;
use crate::app::App;
use crate::client::objects::{self, tail};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text, span};

#[derive(Debug, Args)]
pub(super) struct Vote {
    /// The id of an approval, or its last characters (6 or more); `jobshop inbox` shows them
    id: String,
    /// Why; goes into the task's outputs
    #[arg(short, long, alias = "comment", value_name = "TEXT")]
    message: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    #[command(flatten)]
    vote: Vote,
    /// Another plan to follow instead of the one that is asked about, in YAML or JSON; - is standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with = "message")]
    plan: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Approval {
    id: String,
    session_id: String,
    task: String,
    message: String,
    from: Vec<String>,
    quorum: i64,
    status: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    votes: Vec<Value>,
}

impl Approval {
    fn approvals(&self) -> usize {
        self.votes.iter().filter(|vote| vote["decision"] == "approve").count()
    }
}

/// Lists the open approvals, oldest first.
pub(super) async fn list(app: &App) -> Result<Exit, Failure> {
    let approvals = app.client()?.list(&["approvals"], &[], None).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(approvals))?;
        return Ok(Exit::Done);
    }
    if approvals.is_empty() {
        app.output.note("nothing waits for anybody");
        return Ok(Exit::Done);
    }
    let columns = ["id", "session", "task", "message", "from", "votes", "age", "expires"];
    let mut rows = Rows::new(app.output, &columns);
    let now = Utc::now();
    for approval in &approvals {
        let approval: Approval = objects::read(approval)?;
        rows.push([
            Text::Plain(tail(&approval.id)),
            Text::Plain(tail(&approval.session_id)),
            Text::Plain(&approval.task),
            Text::Plain(&approval.message),
            Text::Owned(if approval.from.is_empty() {
                "operator".to_owned()
            } else {
                approval.from.join(" ")
            }),
            Text::Owned(format!("{}/{}", approval.approvals(), approval.quorum)),
            Text::Owned(span(now - approval.created_at)),
            Text::Owned(
                approval.expires_at.map_or_else(String::new, |at| format!("in {}", span(at - now))),
            ),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

impl Approve {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let Some(file) = self.plan else { return self.vote.execute(app, "approve").await };
        self.vote.cast(app, "approve", &json!({ "plan": plan(&file)? })).await
    }
}

/// The plan in a file, judged before it is sent.
fn plan(file: &Path) -> Result<Value, Failure> {
    let name = file.display();
    let plan = workflow::value(&read_text(file)?).map_err(|problems| {
        let first = problems.first().map(|problem| {
            format!("{name}:{}:{}: {}", problem.line, problem.column, problem.message)
        });
        Failure::usage(first.unwrap_or_else(|| format!("{name} is no plan")))
    })?;
    match decompose::read(&plan, "the goal", decompose::DEPTH_MAX) {
        Ok(_) => Ok(plan),
        Err(faults) => Err(Failure::usage(format!("{name} is no plan: {faults}"))),
    }
}

impl Vote {
    /// `verb` is what the API calls it: approve or reject.
    pub(super) async fn execute(self, app: &App, verb: &'static str) -> Result<Exit, Failure> {
        let comment = self.message.as_ref();
        let body = comment.map_or_else(|| json!({}), |text| json!({ "comment": text }));
        self.cast(app, verb, &body).await
    }

    async fn cast(&self, app: &App, verb: &'static str, body: &Value) -> Result<Exit, Failure> {
        let object = app.client()?.post(&["approvals", &self.id, verb], body, None).await?;
        if app.output.is_json() {
            app.output.json(&object)?;
            return Ok(Exit::Done);
        }
        let approval: Approval = objects::read(&object)?;
        let task = plain(&approval.task);
        app.output.line(&if approval.status == "open" {
            format!("{task} has {} of {} approvals", approval.approvals(), approval.quorum)
        } else {
            format!("{task} is {}", approval.status)
        })?;
        Ok(Exit::Done)
    }
}
