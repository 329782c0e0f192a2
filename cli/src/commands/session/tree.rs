//! `jobshop session tree`: a session and the sessions that its tasks are.

use serde::Deserialize;

use super::SessionName;
use crate::app::App;
use crate::client::objects::{self, tail};
use crate::exit::{Exit, Failure};
use crate::output::plain;

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    title: String,
    workflow: String,
    status: String,
    task: Option<String>,
    children: Vec<Node>,
}

pub(super) async fn execute(app: &App, name: &SessionName) -> Result<Exit, Failure> {
    let client = app.client()?;
    let id = name.resolve(&client).await?;
    let tree = client.get(&["sessions", &id, "tree"], &[]).await?;
    if app.output.is_json() {
        app.output.json(&tree)?;
        return Ok(Exit::Done);
    }
    let mut lines = Vec::new();
    draw(&objects::read(&tree)?, 0, &mut lines);
    app.output.line(&lines.join("\n"))?;
    Ok(Exit::Done)
}

fn draw(node: &Node, depth: usize, lines: &mut Vec<String>) {
    let task = node.task.as_ref().map(|task| format!("{}: ", plain(task))).unwrap_or_default();
    let (title, workflow) = (plain(&node.title), plain(&node.workflow));
    let space = "  ".repeat(depth);
    lines.push(format!("{space}{task}{} {title} ({workflow}) {}", tail(&node.id), node.status));
    for child in &node.children {
        draw(child, depth + 1, lines);
    }
}
