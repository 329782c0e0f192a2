//! `jobshop session logs`: what attempts wrote, in order; with `-f` until the session ends.

use std::time::Duration;

use clap::Args;
use jobshop_engine::task::TaskState;
use serde::Deserialize;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session, Task};
use crate::exit::{Exit, Failure};
use crate::transcript::Transcripts;

/// How often a followed log is asked for more.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(in crate::commands) struct Logs {
    #[command(flatten)]
    name: SessionName,
    /// The key of a task, such as `plan` or `build[api].check`; without it all tasks
    task: Option<String>,
    /// Go on until the session or the task ends
    #[arg(short, long)]
    follow: bool,
    /// Only the tasks that failed
    #[arg(long, conflicts_with_all = ["task", "follow"])]
    failed: bool,
}

/// The shown part of a piece of log.
#[derive(Debug, Deserialize)]
struct Piece {
    task: String,
    attempt: i64,
    stream: String,
    text: String,
}

impl Logs {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        if self.follow {
            follow(app, &client, &id, self.task.as_deref()).await?;
            return Ok(Exit::Done);
        }
        let mut printer = Printer::new(app, self.task.is_none());
        if self.failed {
            for key in failed_tasks(&client, &id).await? {
                Stream::of_task(&client, &id, &key).drain(&mut printer).await?;
            }
            return Ok(Exit::Done);
        }
        let mut stream = match &self.task {
            Some(task) => Stream::of_task(&client, &id, task),
            None => Stream::of_session(&client, &id),
        };
        stream.drain(&mut printer).await?;
        Ok(Exit::Done)
    }
}

/// Prints what is written until the session, or the task that is named, has ended.
pub(super) async fn follow(
    app: &App,
    client: &Client,
    id: &str,
    task: Option<&str>,
) -> Result<(), Failure> {
    let mut printer = Printer::new(app, task.is_none());
    let mut stream = match task {
        Some(task) => Stream::of_task(client, id, task),
        None => Stream::of_session(client, id),
    };
    loop {
        // Asked before the log: what was written before the end is not missed.
        let is_over = is_over(client, id, task).await?;
        stream.drain(&mut printer).await?;
        if is_over {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether nothing more will be written: the session has ended, or the one task.
async fn is_over(client: &Client, id: &str, task: Option<&str>) -> Result<bool, Failure> {
    let session: Session = objects::read(&client.session(id).await?)?;
    let Some(task) = task.filter(|_| !session.status.is_final()) else {
        return Ok(session.status.is_final());
    };
    let task: Task = objects::read(&client.get(&["sessions", id, "tasks", task], &[]).await?)?;
    Ok(task.status.is_final())
}

async fn failed_tasks(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    let path = ["sessions", id, "tasks"];
    let tasks = client.list(&path, &[("status", TaskState::Failed.as_str())], None).await?;
    let tasks = tasks.iter().map(objects::read::<Task>).collect::<Result<Vec<_>, _>>()?;
    Ok(tasks.into_iter().filter(|task| !task.is_group()).map(|task| task.key).collect())
}

/// A log and how far it was read.
struct Stream<'a> {
    client: &'a Client,
    path: Vec<String>,
    cursor: Option<String>,
}

impl<'a> Stream<'a> {
    fn of_session(client: &'a Client, id: &str) -> Self {
        Self { client, path: vec!["sessions".into(), id.into(), "logs".into()], cursor: None }
    }

    fn of_task(client: &'a Client, id: &str, task: &str) -> Self {
        let path = ["sessions", id, "tasks", task, "logs"].map(str::to_owned).to_vec();
        Self { client, path, cursor: None }
    }

    /// Prints everything there is.
    async fn drain(&mut self, printer: &mut Printer<'_>) -> Result<(), Failure> {
        loop {
            let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
            let cursor = self.cursor.clone();
            let query: Vec<_> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let page = self.client.get(&path, &query).await?;
            let pieces = page.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for piece in pieces {
                printer.print(piece)?;
            }
            if let Some(next) = page.get("next").and_then(Value::as_str) {
                self.cursor = Some(next.to_owned());
            }
            if pieces.is_empty() || page.get("next").is_none_or(Value::is_null) {
                return Ok(());
            }
        }
    }
}

/// Writes pieces of a log as text or as JSON.
struct Printer<'a> {
    app: &'a App,
    /// Several tasks are mixed, so each says whose text follows.
    is_prefixed: bool,
    last: Option<(String, i64)>,
    transcripts: Transcripts,
}

impl<'a> Printer<'a> {
    fn new(app: &'a App, is_prefixed: bool) -> Self {
        Self { app, is_prefixed, last: None, transcripts: Transcripts::default() }
    }

    fn print(&mut self, piece: &Value) -> Result<(), Failure> {
        if self.app.output.is_json() {
            return self.app.output.json_line(piece);
        }
        let piece: Piece = objects::read(piece)?;
        let source = (piece.task, piece.attempt);
        let text = match piece.stream.as_str() {
            "transcript" => self.transcripts.push(source.clone(), &piece.text),
            _ => piece.text,
        };
        if text.is_empty() {
            return Ok(());
        }
        if self.is_prefixed && self.last.as_ref() != Some(&source) {
            let attempt =
                if source.1 > 1 { format!(" (attempt {})", source.1) } else { String::new() };
            self.app.output.line(&format!("==> {}{attempt} <==", source.0))?;
            self.last = Some(source);
        }
        Ok(self.app.output.bytes(text.as_bytes())?)
    }
}
