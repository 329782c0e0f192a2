//! `jobshop budget`: what sessions may take and have taken, and what models cost.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text, span};

#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Show the budgets of a session, its groups and its tasks: used, reserved, left
    Show {
        /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
        session: String,
    },
    /// Give a budget higher limits; what was paused because it was used up goes on
    Raise(Raise),
    /// Show what models cost, or set it from a file
    Prices {
        /// JSON: [{"model": "…", "since": "2026-01-01T00:00:00Z", "input": 3, "output": 15}],
        /// dollars for a million tokens
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Raise {
    /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
    session: String,
    /// The budget of this task or group
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// The new limit, more than the present one
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<u64>,
    /// The new limit in dollars
    #[arg(long, value_name = "USD")]
    usd: Option<f64>,
    /// The new limit, as in 4h
    #[arg(long, value_name = "DURATION")]
    wall_time: Option<String>,
    /// Why; recorded with your name
    #[arg(short = 'm', long = "reason", value_name = "TEXT")]
    reason: Option<String>,
}

impl BudgetCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::Show { session } => {
                let id = resolve(&client, &session).await?;
                let budgets = client.get(&["sessions", &id, "budget"], &[]).await?;
                show(app, &budgets)
            }
            Self::Raise(command) => command.execute(app, &client).await,
            Self::Prices { set: None } => {
                let prices = client.list(&["prices"], &[], None).await?;
                show_prices(app, &prices)
            }
            Self::Prices { set: Some(file) } => {
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    Failure::usage(format!("{} cannot be read: {error}", file.display()))
                })?;
                let items: Value = serde_json::from_str(&text).map_err(|error| {
                    Failure::usage(format!("{} is not JSON: {error}", file.display()))
                })?;
                let done = client.put(&["prices"], &json!({ "items": items })).await?;
                show_prices(app, done["items"].as_array().map_or(&[], Vec::as_slice))
            }
        }
    }
}

async fn resolve(client: &Client, name: &str) -> Result<String, Failure> {
    let session = client.session(name).await?;
    Ok(session["id"].as_str().unwrap_or_default().to_owned())
}

impl Raise {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let id = resolve(client, &self.session).await?;
        let said = [
            ("task", self.task.map(Value::from)),
            ("tokens", self.tokens.map(Value::from)),
            ("usd", self.usd.map(Value::from)),
            ("wall_time", self.wall_time.map(Value::from)),
            ("reason", self.reason.map(Value::from)),
        ];
        let body: Map<String, Value> =
            said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        let path = ["sessions", &id, "budget", "raise"];
        let budgets = client.post(&path, &Value::Object(body), None).await?;
        show(app, &budgets)
    }
}

fn show(app: &App, budgets: &Value) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(budgets)?;
        return Ok(Exit::Done);
    }
    let empty = Vec::new();
    let items = budgets["items"].as_array().unwrap_or(&empty);
    if items.is_empty() {
        app.output.note("no budget of this session has been asked for anything");
        return Ok(Exit::Done);
    }
    let mut rows =
        Rows::new(app.output, &["budget", "of", "limit", "used", "reserved", "left", "on_exceed"]);
    for item in items {
        let name = item["task"].as_str().unwrap_or("(session)");
        for of in ["tokens", "usd", "wall_time_ms"] {
            let amount = &item[of];
            let number = |key: &str| match (&amount[key], of) {
                (Value::Null, _) => "-".to_owned(),
                (value, "usd") => format!("{:.4}", value.as_f64().unwrap_or_default()),
                (value, "wall_time_ms") => span(
                    TimeDelta::from_std(Duration::from_secs_f64(seconds(value)))
                        .unwrap_or_default(),
                ),
                (value, _) => format!("{}", value.as_f64().unwrap_or_default()),
            };
            rows.push([
                Text::Plain(name),
                Text::Plain(of.trim_end_matches("_ms")),
                Text::Plain(&number("limit")),
                Text::Plain(&number("used")),
                Text::Plain(&number("reserved")),
                Text::Plain(&number("left")),
                Text::Plain(item["on_exceed"].as_str().unwrap_or_default()),
            ]);
        }
    }
    app.output.line(&rows.render())?;
    let sum = |key: &str| items.first().and_then(|item| item[key].as_i64()).unwrap_or_default();
    for (key, says) in [
        ("unmetered", "did not say what they took: what they had reserved counts"),
        ("unpriced", "used a model whose price is not known: the money they had reserved counts"),
    ] {
        // Without a limit in money its price is nobody's concern.
        let counts = key != "unpriced" || items.iter().any(|item| !item["usd"]["limit"].is_null());
        if counts && sum(key) > 0 {
            app.output.note(&format!("{} attempt(s) {says}", sum(key)));
        }
    }
    for task in budgets["waits"].as_array().unwrap_or(&empty) {
        let task = plain(task.as_str().unwrap_or_default());
        app.output.note(&format!("`{task}` waits: `jobshop session why` says for what"));
    }
    Ok(Exit::Done)
}

fn seconds(ms: &Value) -> f64 {
    ms.as_f64().unwrap_or_default().max(0.0) / 1_000.0
}

fn show_prices(app: &App, prices: &[Value]) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&Value::from(prices.to_vec()))?;
        return Ok(Exit::Done);
    }
    let columns = ["model", "since", "input", "output", "reasoning", "cache_read", "cache_write"];
    let mut rows = Rows::new(app.output, &columns);
    for price in prices {
        let text = |key: &str| price[key].as_str().unwrap_or_default().to_owned();
        let number =
            |key: &str| price[key].as_f64().map_or_else(|| "-".to_owned(), |it| it.to_string());
        let cells = [
            text("model"),
            text("since"),
            number("input"),
            number("output"),
            number("reasoning"),
            number("cache_read"),
            number("cache_write"),
        ];
        rows.push(cells.iter().map(|cell| Text::Plain(cell)));
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}
