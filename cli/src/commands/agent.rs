//! `jobshop agent`: who works for this installation, how well, and who should do what.

use chrono::Utc;
use clap::{Args, Subcommand};
use jobshop_engine::plan::SessionType;
use jobshop_engine::routing::{AgentType, Complexity, Tier};
use serde_json::{Value, json};

use super::session::SessionName;
use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Agent};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text, span};

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// List the agents, with what they offer and how busy they are
    List,
    /// Show an agent: what it is good for, and how well it did
    Show {
        /// Its name or id
        agent: String,
    },
    /// Show who should do what is asked: the score of every agent, part by part
    Route(Route),
    /// Show which agents may do a task, and which rule leaves out each of the others
    Match(Match),
    /// Give an agent nothing new; what it runs it finishes
    Drain(Drain),
    /// Let a drained agent take tasks again
    Resume {
        /// Its name or id
        agent: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Route {
    /// A capability that has to be offered; may be repeated
    #[arg(long = "requires", value_name = "NAME")]
    requires: Vec<String>,
    /// The type that is preferred: architect, implementer, reviewer, debugger, integrator,
    /// orchestrator, analyst or optimizer
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AgentType>,
    /// An agent that is preferred; may be repeated
    #[arg(long = "agent", value_name = "NAME")]
    agents: Vec<String>,
    /// A technology that is preferred; may be repeated
    #[arg(long = "technology", value_name = "NAME")]
    technologies: Vec<String>,
    /// simple, medium, complex or expert
    #[arg(long)]
    complexity: Option<Complexity>,
    /// planning, execution, review, debug or integration
    #[arg(long, value_name = "TYPE", value_parser = session_type)]
    session_type: Option<SessionType>,
    /// Nobody below it: degraded, trainee, competent, advanced or elite
    #[arg(long)]
    tier: Option<Tier>,
}

#[derive(Debug, Args)]
pub(super) struct Match {
    #[command(flatten)]
    name: SessionName,
    /// The key of the task
    task: String,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// A name stands for all that run under it, now and after a restart; an id for one worker
    agent: String,
    /// Why, shown with the agent
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,
    /// Call it maintenance
    #[arg(long)]
    maintenance: bool,
}

fn session_type(text: &str) -> Result<SessionType, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| {
        format!("`{text}` is none: one of planning, execution, review, debug, integration")
    })
}

impl AgentCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::List => list(app, &client).await,
            Self::Show { agent } => {
                let found = client.get(&["agents", &agent], &[]).await?;
                show(app, &found)
            }
            Self::Route(route) => route.execute(app, &client).await,
            Self::Match(Match { name, task }) => {
                let id = name.resolve(&client).await?;
                let found = client.get(&["sessions", &id, "tasks", &task, "match"], &[]).await?;
                show_candidates(app, &found)
            }
            Self::Drain(Drain { agent, reason, maintenance }) => {
                let body = json!({ "reason": reason, "maintenance": maintenance });
                let done = client.post(&["agents", &agent, "drain"], &body, None).await?;
                show_status(app, &done)
            }
            Self::Resume { agent } => {
                let done = client.post(&["agents", &agent, "resume"], &json!({}), None).await?;
                show_status(app, &done)
            }
        }
    }
}

async fn list(app: &App, client: &Client) -> Result<Exit, Failure> {
    let agents = client.list(&["agents"], &[], None).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(agents))?;
        return Ok(Exit::Done);
    }
    if agents.is_empty() {
        app.output.note("no agent is registered; `jobshop worker` starts one");
        return Ok(Exit::Done);
    }
    let columns =
        ["name", "type", "status", "tier", "running", "capabilities", "host", "pid", "up"];
    let mut rows = Rows::new(app.output, &columns);
    let now = Utc::now();
    for agent in &agents {
        let agent: Agent = objects::read(agent)?;
        rows.push([
            Text::Plain(&agent.name),
            Text::Plain(&agent.kind),
            Text::Plain(&agent.status),
            Text::Plain(&agent.tier),
            Text::Owned(format!("{}/{}", agent.running, agent.capacity)),
            Text::Owned(agent.capabilities.join(" ")),
            Text::Plain(&agent.host),
            Text::Owned(agent.pid.to_string()),
            Text::Owned(span(now - agent.started_at)),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

/// Text of an object, made safe for terminals.
fn text(object: &Value, key: &str) -> String {
    plain(object[key].as_str().unwrap_or_default())
}

/// A list of an object in one line.
fn listed(object: &Value, key: &str) -> String {
    let items = object[key].as_array().into_iter().flatten().filter_map(Value::as_str);
    let items: Vec<String> = items.map(plain).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(" ") }
}

fn show(app: &App, agent: &Value) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(agent)?;
        return Ok(Exit::Done);
    }
    let performance = &agent["performance"];
    let number = |key: &str| performance[key].as_u64().unwrap_or_default();
    let percent = |value: &Value| format!("{:.0} %", value.as_f64().unwrap_or_default() * 100.0);
    let mean = |key: &str, unit: &str| {
        performance[key]
            .as_f64()
            .map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}{unit}"))
    };
    let labels = agent["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let mut lines = vec![
        ("name", text(agent, "name")),
        ("id", text(agent, "id")),
        ("type", text(agent, "type")),
        ("status", told_status(agent)),
        ("capabilities", listed(agent, "capabilities")),
        ("technologies", listed(agent, "technologies")),
        ("avoids", listed(agent, "avoids")),
        ("complexity", text(agent, "complexity")),
        ("labels", plain(&labels.join(" "))),
        (
            "runs",
            format!("{} of {} ({})", agent["running"], agent["capacity"], text(agent, "load")),
        ),
        ("tier", text(agent, "tier")),
        ("success", percent(&performance["success"])),
        (
            "attempts",
            format!(
                "{} succeeded, {} failed, {} crashed",
                number("succeeded"),
                number("failed"),
                number("crashed")
            ),
        ),
        ("an attempt", format!("{}, {}", mean("duration_ms", " ms"), mean("tokens", " tokens"))),
        ("costs", mean("cost_usd", " USD")),
        ("breaker", text(&agent["breaker"], "state")),
        ("version", text(agent, "version")),
        ("where", format!("{}, process {}", text(agent, "host"), agent["pid"])),
    ];
    for (name, rate) in performance["capabilities"].as_object().into_iter().flatten() {
        lines.push(("", format!("{}: {}", plain(name), percent(rate))));
    }
    for (name, value) in lines {
        app.output.line(format!("{name:<14}{value}").trim_end())?;
    }
    Ok(Exit::Done)
}

/// Whether it takes tasks, and why not.
fn told_status(agent: &Value) -> String {
    let drained = &agent["drained"];
    let by = drained["by"].as_str().map(|by| format!(" by {}", plain(by)));
    let why = drained["reason"].as_str().map(|why| format!(": {}", plain(why)));
    format!("{}{}{}", text(agent, "status"), by.unwrap_or_default(), why.unwrap_or_default())
}

fn show_status(app: &App, agent: &Value) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(agent)?;
    } else {
        let (name, status) = (text(agent, "name"), told_status(agent));
        app.output.line(&format!("{name} is {status}, runs {}", agent["running"]))?;
    }
    Ok(Exit::Done)
}

impl Route {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let lists = [
            ("requires", self.requires.join(",")),
            ("agents", self.agents.join(",")),
            ("technologies", self.technologies.join(",")),
        ];
        let words = [
            ("type", self.kind.map(AgentType::as_str)),
            ("complexity", self.complexity.map(Complexity::as_str)),
            ("session_type", self.session_type.map(SessionType::as_str)),
            ("tier", self.tier.map(Tier::as_str)),
        ];
        let lists = lists.iter().filter(|(_, items)| !items.is_empty());
        let mut query: Vec<(&str, &str)> =
            lists.map(|(name, items)| (*name, items.as_str())).collect();
        query.extend(words.into_iter().filter_map(|(name, word)| Some((name, word?))));
        let found = client.get(&["routing"], &query).await?;
        show_candidates(app, &found)
    }
}

fn show_candidates(app: &App, found: &Value) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(found)?;
        return Ok(Exit::Done);
    }
    let nobody = || "nobody".to_owned();
    let agent = found["agent"].as_str().map_or_else(nobody, plain);
    app.output.line(&format!("{agent}: {}", text(found, "reason")))?;
    for candidate in found["candidates"].as_array().into_iter().flatten() {
        let score = candidate["score"].as_f64().unwrap_or_default();
        let excluded = candidate["excluded"].as_array().into_iter().flatten();
        let rules: Vec<String> =
            excluded.map(|it| format!("{} ({})", text(it, "message"), text(it, "rule"))).collect();
        let out =
            if rules.is_empty() { String::new() } else { format!("  not: {}", rules.join("; ")) };
        app.output.line(&format!("{score:.3}  {}{out}", text(candidate, "agent")))?;
        let parts = candidate["parts"].as_array().into_iter().flatten().map(|part| {
            let points = part["points"].as_f64().unwrap_or_default();
            format!("{} {points:+.3}", text(part, "name"))
        });
        app.output.line(&format!("       {}", parts.collect::<Vec<_>>().join("  ")))?;
    }
    Ok(Exit::Done)
}
