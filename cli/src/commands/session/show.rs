//! `jobshop session show`: one session.

use chrono::Utc;

use super::SessionName;
use crate::app::App;
use crate::client::objects::Session;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::elapsed;

pub(super) async fn execute(app: &App, name: &SessionName) -> Result<Exit, Failure> {
    let client = app.client()?;
    let (object, session) = name.find(&client).await?;
    if app.output.is_json() {
        app.output.json(&object)?;
        return Ok(Exit::Done);
    }
    for (name, value) in facts(&session) {
        if !value.is_empty() {
            app.output.line(&format!("{name:<10} {value}"))?;
        }
    }
    for (name, value) in session.outputs.iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), plain);
        app.output.line(&format!("output     {name} = {text}"))?;
    }
    Ok(Exit::Done)
}

fn facts(session: &Session) -> Vec<(&'static str, String)> {
    let workflow = session.workflow.as_ref();
    let reason = session.status_reason.as_deref().map(|reason| format!(" ({})", plain(reason)));
    let tags: Vec<String> = session.tags.iter().map(|tag| plain(tag)).collect();
    vec![
        ("id", session.id.clone()),
        ("title", plain(&session.title)),
        ("workflow", workflow.map_or_else(String::new, |it| format!("{}@{}", it.name, it.version))),
        ("schedule", schedule(session)),
        ("status", format!("{}{}", session.status, reason.unwrap_or_default())),
        ("health", session.health.map(|it| format!("{it:.2}")).unwrap_or_default()),
        ("priority", session.priority.clone()),
        ("tags", tags.join(" ")),
        ("tasks", session.counts.to_string()),
        ("created", session.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        ("time", elapsed(session.started_at, session.finished_at, Utc::now())),
        ("error", session.error.as_ref().map_or_else(String::new, ToString::to_string)),
    ]
}

/// The schedule that started it, and the time it stands for.
fn schedule(session: &Session) -> String {
    let Some(schedule) = &session.schedule_id else { return String::new() };
    let time = session.metadata.get("fire_time").and_then(|time| time.as_str());
    plain(&format!("{schedule} {}", time.map(|time| format!("for {time}")).unwrap_or_default()))
}
