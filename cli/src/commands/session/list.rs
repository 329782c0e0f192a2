//! `jobshop session list`: sessions, newest first.

use chrono::{DateTime, Utc};
use clap::Args;
use jobshop_engine::session::SessionState;
use serde_json::Value;

use crate::app::App;
use crate::client::objects::{self, ArchivedSession, Session, tail};
use crate::exit::{Exit, Failure};
use crate::moment;
use crate::table::{Rows, Text, elapsed, span};

#[derive(Debug, Args)]
pub(in crate::commands) struct List {
    /// Only sessions with this status
    #[arg(long, value_parser = |text: &str| text.parse::<SessionState>())]
    status: Option<SessionState>,
    /// Only sessions of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only sessions with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only sessions of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only sessions created since then: RFC 3339, or so long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = moment::past)]
    since: Option<DateTime<Utc>>,
    /// Sessions that were archived, instead of those that are kept
    #[arg(long, conflicts_with_all = ["status", "workflow", "tag", "kind", "since"])]
    archived: bool,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        if self.archived {
            return list_archived(app, self.limit).await;
        }
        let mut query: Vec<(&str, &str)> = Vec::new();
        query.extend(self.status.map(|status| ("status", status.as_str())));
        query.extend(self.workflow.as_deref().map(|name| ("workflow", name)));
        query.extend(self.tag.as_deref().map(|tag| ("tag", tag)));
        let since = self.since.map(|since| since.to_rfc3339());
        query.extend(self.kind.as_deref().map(|kind| ("type", kind)));
        query.extend(since.as_deref().map(|since| ("since", since)));
        let sessions = app.client()?.list(&["sessions"], &query, Some(self.limit)).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(sessions))?;
            return Ok(Exit::Done);
        }
        if sessions.is_empty() {
            app.output.note(if query.is_empty() {
                "no session; start one with `jobshop run FILE` or `jobshop submit FILE`"
            } else {
                "no session is like that; `jobshop session list` without options shows all"
            });
            return Ok(Exit::Done);
        }
        let columns = ["id", "title", "workflow", "status", "tasks", "age", "time"];
        let mut rows = Rows::new(app.output, &columns);
        let now = Utc::now();
        for session in &sessions {
            let session: Session = objects::read(session)?;
            let name = session.workflow.as_ref().map_or("", |workflow| workflow.name.as_str());
            rows.push([
                Text::Plain(tail(&session.id)),
                Text::Plain(&session.title),
                Text::Plain(name),
                Text::Status(session.status.as_str()),
                Text::Owned(format!("{}/{}", session.counts.ended(), session.counts.total)),
                Text::Owned(span(now - session.created_at)),
                Text::Owned(elapsed(session.started_at, session.finished_at, now)),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

async fn list_archived(app: &App, limit: u32) -> Result<Exit, Failure> {
    let sessions = app.client()?.list(&["archives"], &[], Some(limit)).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(sessions))?;
        return Ok(Exit::Done);
    }
    if sessions.is_empty() {
        app.output.note("no session was archived");
        return Ok(Exit::Done);
    }
    let columns = ["id", "title", "workflow", "status", "ended", "location"];
    let mut rows = Rows::new(app.output, &columns);
    for session in &sessions {
        let session: ArchivedSession = objects::read(session)?;
        rows.push([
            Text::Plain(tail(&session.id)),
            Text::Plain(&session.title),
            Text::Plain(&session.workflow.name),
            Text::Status(session.status.as_str()),
            Text::Owned(span(Utc::now() - session.finished_at)),
            Text::Plain(&session.archived.location),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}
