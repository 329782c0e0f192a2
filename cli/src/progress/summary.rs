//! What is left to say when a session has ended: a table of its tasks, its outputs, and where to
//! look next.

use chrono::Utc;
use jobshop_engine::task::TaskState;
use serde_json::Value;

use crate::app::App;
use crate::client::objects::{self, Session, Task, tail};
use crate::client::{Client, Page};
use crate::exit::Failure;
use crate::output::plain;
use crate::table::{Rows, Text, elapsed};

/// Longer tables show what stands at the top of the session, and what failed.
const ROWS_MAX: usize = 40;
/// So many tasks are read for it, and of a larger session so many failed ones.
const READ_MAX: u32 = 500;
const FAILED_READ_MAX: u32 = 50;
/// So many failed tasks get a line that says where to look.
const FAILED_MAX: usize = 5;

/// Prints how a session ended.
pub async fn summarize(app: &App, client: &Client, session: &Session) -> Result<(), Failure> {
    let path = ["sessions", session.id.as_str(), "tasks"];
    // What the workflow lists comes first; of a large session the rest is not read.
    let mut tasks = read(&client.list(&path, &[], Some(READ_MAX)).await?)?;
    let is_cut = u32::try_from(tasks.len()).is_ok_and(|count| count == READ_MAX);
    if is_cut && session.counts.failed > 0 {
        let failed = [("status", TaskState::Failed.as_str())];
        let failed = read(&client.list(&path, &failed, Some(FAILED_READ_MAX)).await?)?;
        let last = tasks.last().map_or(0, |task| task.seq);
        tasks.extend(failed.into_iter().filter(|task| task.seq > last));
    }
    app.output.line("")?;
    app.output.line(&table(app, &tasks))?;
    app.output.line("")?;
    app.output.line(&headline(session))?;
    for (name, value) in session.outputs.iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), plain);
        app.output.line(&format!("  {name}: {text}"))?;
    }
    advise(app, client, session, &tasks).await
}

fn read(tasks: &[Value]) -> Result<Vec<Task>, Failure> {
    tasks.iter().map(objects::read::<Task>).collect()
}

fn headline(session: &Session) -> String {
    let time = elapsed(session.started_at, session.finished_at, Utc::now());
    let time = if time.is_empty() { time } else { format!(" in {time}") };
    let title = plain(&session.title);
    let mut text = format!("{title} {}{time}: {}", session.status, session.counts);
    text.extend(session.error.as_ref().map(|error| format!("\n  {error}")));
    text
}

fn table(app: &App, tasks: &[Task]) -> String {
    let is_long = tasks.len() > ROWS_MAX;
    let mut rows = Rows::new(app.output, &["task", "status", "attempts", "time", "why"]);
    let mut failed = 0;
    for task in tasks {
        let is_top = !task.key.contains(['[', '.']);
        if is_long && !is_top {
            if task.status != TaskState::Failed || task.is_group() || failed == FAILED_MAX {
                continue;
            }
            failed += 1;
        }
        rows.push([
            Text::Plain(&task.key),
            Text::Status(task.status.as_str()),
            Text::Owned(if task.attempt > 0 { task.attempt.to_string() } else { String::new() }),
            Text::Owned(elapsed(task.started_at, task.finished_at, Utc::now())),
            Text::Owned(task.why()),
        ]);
    }
    rows.render()
}

/// The next commands, on standard error.
async fn advise(
    app: &App,
    client: &Client,
    session: &Session,
    tasks: &[Task],
) -> Result<(), Failure> {
    let id = tail(&session.id);
    let failed: Vec<&Task> =
        tasks.iter().filter(|task| task.status == TaskState::Failed && !task.is_group()).collect();
    for task in failed.iter().take(FAILED_MAX) {
        let path = ["sessions", &session.id, "tasks", &task.key, "logs"];
        let logs: Page = objects::read(&client.get(&path, &[]).await?)?;
        // What wrote nothing has no log to look into.
        let command = if logs.items.is_empty() { "why" } else { "logs" };
        app.output.note(&format!("  see: jobshop session {command} {id} '{}'", plain(&task.key)));
    }
    if failed.len() > FAILED_MAX {
        app.output.note(&format!("  see: jobshop session logs {id} --failed"));
    }
    if session.status.is_retryable() && !failed.is_empty() {
        app.output.note(&format!("  then: jobshop session retry {id}"));
    }
    Ok(())
}
