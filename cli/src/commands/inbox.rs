//! `jobshop inbox`, `approve` and `reject`: what tasks and their agents ask of people.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use jobshop_engine::{decompose, workflow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::read_text;
use crate::app::App;
use crate::client::objects::{self, tail};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text, span};

/// How much of a message stands in a table.
const LINE_CHARS_MAX: usize = 60;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Inbox {
    #[command(subcommand)]
    command: Option<InboxCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// List what waits for people, oldest first
    List(List),
    /// Show one entry: what is asked, who may answer, until when, what was said
    Show {
        /// The id of an entry, or its last characters (6 or more)
        id: String,
    },
    /// Answer a permission (allow, deny), an approval (approve, reject) or a question (any text)
    Answer(Answer),
}

#[derive(Debug, Args)]
struct List {
    /// Only of this session
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// What waits for nobody any more
    #[arg(long)]
    ended: bool,
}

#[derive(Debug, Args)]
struct Answer {
    /// The id of an entry, or its last characters (6 or more); `jobshop inbox` shows them
    id: String,
    /// `allow` or `deny`; `approve` or `reject`; the answer to each thing that a question asks
    #[arg(required_unless_present = "deny", num_args = 1.., value_name = "ANSWER")]
    answers: Vec<String>,
    /// Do not answer a question
    #[arg(long, conflicts_with = "answers")]
    deny: bool,
    /// Why; an agent reads why something is denied
    #[arg(short, long, alias = "comment", value_name = "TEXT")]
    message: Option<String>,
}

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
struct Entry {
    id: String,
    #[serde(default)]
    kind: String,
    session_id: String,
    task: String,
    message: String,
    from: Vec<String>,
    quorum: i64,
    status: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    votes: Vec<Value>,
    #[serde(default)]
    questions: Vec<Value>,
    #[serde(default)]
    answer: Value,
}

impl Entry {
    fn approvals(&self) -> usize {
        let approves = |vote: &&Value| vote["decision"] == "approve" || vote["decision"] == "allow";
        self.votes.iter().filter(approves).count()
    }

    fn from(&self) -> String {
        if self.from.is_empty() { "operator".to_owned() } else { self.from.join(" ") }
    }

    /// What became of it, in a line.
    fn standing(&self) -> String {
        let task = plain(&self.task);
        if self.status == "open" {
            return format!("{task} has {} of {} approvals", self.approvals(), self.quorum);
        }
        let said = match (self.answer["allowed"].as_bool(), self.answer["answers"].as_array()) {
            (Some(true), Some(answers)) => {
                let answers: Vec<&str> = answers.iter().filter_map(Value::as_str).collect();
                format!(": {}", plain(&answers.join(" / ")))
            }
            (Some(true), None) => ": allowed".to_owned(),
            (Some(false), _) => ": denied".to_owned(),
            (None, _) => String::new(),
        };
        format!("{task} is {}{said}", self.status)
    }
}

impl Inbox {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self.command {
            None => self.list.execute(app).await,
            Some(InboxCommand::List(list)) => list.execute(app).await,
            Some(InboxCommand::Show { id }) => show(app, &id).await,
            Some(InboxCommand::Answer(answer)) => answer.execute(app).await,
        }
    }
}

impl List {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let mut query = Vec::new();
        if let Some(session) = &self.session {
            query.push(("session", session.as_str()));
        }
        if self.ended {
            query.push(("status", "ended"));
        }
        let entries = app.client()?.list(&["inbox"], &query, None).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(entries))?;
            return Ok(Exit::Done);
        }
        if entries.is_empty() {
            app.output.note("nothing waits for anybody");
            return Ok(Exit::Done);
        }
        let columns =
            ["id", "kind", "session", "task", "message", "from", "votes", "age", "expires"];
        let mut rows = Rows::new(app.output, &columns);
        let now = Utc::now();
        for entry in &entries {
            let entry: Entry = objects::read(entry)?;
            let expires = match entry.expires_at {
                Some(at) if entry.status == "open" => format!("in {}", span(at - now)),
                _ if entry.status == "open" => String::new(),
                _ => entry.status.clone(),
            };
            rows.push([
                Text::Plain(tail(&entry.id)),
                Text::Plain(&entry.kind),
                Text::Plain(tail(&entry.session_id)),
                Text::Plain(&entry.task),
                Text::Owned(line(&entry.message)),
                Text::Owned(entry.from()),
                Text::Owned(format!("{}/{}", entry.approvals(), entry.quorum)),
                Text::Owned(span(now - entry.created_at)),
                Text::Owned(expires),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

async fn show(app: &App, id: &str) -> Result<Exit, Failure> {
    let object = app.client()?.get(&["inbox", id], &[]).await?;
    if app.output.is_json() {
        app.output.json(&object)?;
        return Ok(Exit::Done);
    }
    let entry: Entry = objects::read(&object)?;
    let mut lines = vec![
        format!("{} {} ({})", entry.kind, tail(&entry.id), entry.status),
        format!("session  {}", tail(&entry.session_id)),
        format!("task     {}", plain(&entry.task)),
        format!("asks     {}", paragraphs(&entry.message)),
        format!("from     {}, {} of them", entry.from(), entry.quorum),
    ];
    for question in &entry.questions {
        let options: Vec<&str> = question["options"]
            .as_array()
            .map(|options| options.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let text = question["text"].as_str().unwrap_or_default();
        lines.push(format!("?        {} [{}]", plain(text), plain(&options.join(", "))));
    }
    if let Some(at) = entry.expires_at {
        lines.push(format!("until    {at}"));
    }
    for vote in &entry.votes {
        let word = |name: &str| plain(vote[name].as_str().unwrap_or_default());
        lines.push(format!("said     {}: {} {}", word("by"), word("decision"), word("comment")));
    }
    if entry.status != "open" {
        lines.push(entry.standing());
    }
    app.output.line(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// The first line, cut where it gets too long for a table.
fn line(message: &str) -> String {
    let first = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.chars().count() <= LINE_CHARS_MAX {
        return plain(first);
    }
    let cut: String = first.chars().take(LINE_CHARS_MAX - 1).collect();
    format!("{}…", plain(cut.trim_end()))
}

/// All lines, those after the first below it.
fn paragraphs(message: &str) -> String {
    let lines: Vec<_> = message.trim_end().lines().map(plain).collect();
    lines.join("\n         ")
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

impl Answer {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let asked = client.get(&["inbox", &self.id], &[]).await?;
        let asked: Entry = objects::read(&asked)?;
        let mut body = if self.deny {
            json!({ "decision": "deny" })
        } else if asked.kind == "question" {
            json!({ "answers": self.answers })
        } else {
            let [decision] = self.answers.as_slice() else {
                let words =
                    if asked.kind == "approval" { "approve or reject" } else { "allow or deny" };
                return Err(Failure::usage(format!("one word is the answer to this: {words}")));
            };
            json!({ "decision": decision })
        };
        if let Some(message) = self.message {
            body["comment"] = Value::from(message);
        }
        let object = client.post(&["inbox", &asked.id, "answer"], &body, None).await?;
        if app.output.is_json() {
            app.output.json(&object)?;
            return Ok(Exit::Done);
        }
        let entry: Entry = objects::read(&object)?;
        app.output.line(&entry.standing())?;
        Ok(Exit::Done)
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
        let approval: Entry = objects::read(&object)?;
        app.output.line(&approval.standing())?;
        Ok(Exit::Done)
    }
}
