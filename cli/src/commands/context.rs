//! `jobshop context`: what tasks, agents and people share.

use std::str::FromStr;

use clap::{Args, Subcommand};
use jobshop_engine::context::{Scope, Strategy};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    /// List contexts
    List {
        #[arg(long)]
        scope: Option<Scope>,
    },
    /// Show a context, or what is at a place in it
    Get(Get),
    /// Write into a context; it need not exist before
    Set(Set),
    /// Show what one context has to become another, or an earlier version a later one
    Diff {
        /// SESSION, agent:NAME, global, global:NAME or temporary:NAME, with @VERSION behind it
        from: Pinned,
        to: Pinned,
    },
    /// Merge one context into another, from what both were when that was done last
    Merge(Merge),
    /// Show how a context became what it is, the newest change first
    History {
        context: Name,
        /// At most this many changes
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
    /// Merge a context into another one that need not exist
    Share {
        context: Name,
        /// Where it goes
        to: Name,
        #[command(flatten)]
        how: How,
    },
    /// Merge a context into a global one
    Promote {
        context: Name,
        /// The name of the global context
        #[arg(long, value_name = "NAME", default_value = "default")]
        to: String,
        #[command(flatten)]
        how: How,
    },
    /// Remove a context with all its versions
    Delete { context: Name },
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// SESSION (an id or its end, @latest, @latest:WORKFLOW), agent:NAME, global, global:NAME or
    /// temporary:NAME
    context: Name,
    /// Keys with dots between them, as in build.status
    path: Option<String>,
    /// As of this version
    #[arg(long)]
    version: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// SESSION, agent:NAME, global, global:NAME or temporary:NAME
    context: Name,
    /// PATH=TEXT or PATH:=JSON
    #[arg(value_name = "PATH=VALUE")]
    values: Vec<Setting>,
    /// Remove what is at this place
    #[arg(long, value_name = "PATH")]
    remove: Vec<String>,
    /// Only if it has this version; 0: if there is none yet
    #[arg(long, value_name = "VERSION")]
    expect: Option<i64>,
    /// How long it lives without another write, as in 6h
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// Kept with the change
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// What is merged
    from: Name,
    /// Into what
    #[arg(long, value_name = "CONTEXT")]
    into: Name,
    #[command(flatten)]
    how: How,
    /// Show what would change, and every conflict
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct How {
    #[expect(clippy::doc_markdown, reason = "it is shown as help")]
    /// Where both changed the same place: manual, last_write_wins, deep_merge, prefer_source or
    /// prefer_target
    #[arg(long, default_value_t)]
    strategy: Strategy,
    /// Kept with the change
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// A context as it is named on the command line.
#[derive(Debug, Clone)]
pub(super) struct Name {
    scope: String,
    name: String,
}

impl FromStr for Name {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let of = |scope: &str, name: &str| Self { scope: scope.to_owned(), name: name.to_owned() };
        if text == "global" {
            return Ok(of("global", "default"));
        }
        match text.split_once(':') {
            Some((scope, name)) if scope.parse::<Scope>().is_ok() => Ok(of(scope, name)),
            Some((scope, _)) if !scope.starts_with('@') => {
                Err(format!("`{scope}` is no scope; one of session, agent, global, temporary"))
            }
            _ => Ok(of("session", text)),
        }
    }
}

impl Name {
    fn path<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        ["contexts", &self.scope, &self.name].into_iter().chain(more.iter().copied()).collect()
    }

    fn told(&self) -> String {
        format!("{}:{}", self.scope, self.name)
    }
}

/// A context, and which of its versions.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    name: Name,
    version: Option<i64>,
}

impl FromStr for Pinned {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // `@latest` is a session, `@3` a version.
        if let Some((name, version)) = text.rsplit_once('@')
            && let Ok(version) = version.parse()
        {
            return Ok(Self { name: name.parse()?, version: Some(version) });
        }
        Ok(Self { name: text.parse()?, version: None })
    }
}

/// A place and what is to be there.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    path: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("write PATH=TEXT or PATH:=JSON")?;
        Ok(match path.strip_suffix(':') {
            Some(path) => {
                let value = serde_json::from_str(value)
                    .map_err(|error| format!("what follows `{path}:=` is not JSON: {error}"))?;
                Self { path: path.to_owned(), value }
            }
            None => Self { path: path.to_owned(), value: Value::from(value) },
        })
    }
}

impl ContextCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::List { scope } => list(app, &client, scope).await,
            Self::Get(command) => command.execute(app, &client).await,
            Self::Set(command) => command.execute(app, &client).await,
            Self::Diff { from, to } => diff(app, &client, &from, &to).await,
            Self::Merge(Merge { from, into, how, dry_run }) => {
                let body = json!({ "from": from.told(), "strategy": how.strategy,
                                   "why": how.why, "dry_run": dry_run });
                let done = client.post(&into.path(&["merge"]), &body, None).await?;
                show_written(app, &done, &into)
            }
            Self::History { context, limit } => history(app, &client, &context, limit).await,
            Self::Share { context, to, how } => {
                let body = json!({ "to": to.told(), "strategy": how.strategy, "why": how.why });
                let done = client.post(&context.path(&["share"]), &body, None).await?;
                show_written(app, &done, &to)
            }
            Self::Promote { context, to, how } => {
                let body = json!({ "name": to, "strategy": how.strategy, "why": how.why });
                let done = client.post(&context.path(&["promote"]), &body, None).await?;
                show_written(app, &done, &Name { scope: "global".to_owned(), name: to })
            }
            Self::Delete { context } => {
                client.delete(&context.path(&[])).await?;
                if !app.output.is_json() {
                    app.output.line(&format!("{} is removed", plain(&context.told())))?;
                }
                Ok(Exit::Done)
            }
        }
    }
}

async fn list(app: &App, client: &Client, scope: Option<Scope>) -> Result<Exit, Failure> {
    let query: Vec<(&str, &str)> = scope.iter().map(|scope| ("scope", scope.as_str())).collect();
    let contexts = client.list(&["contexts"], &query, None).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(contexts))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(app.output, &["context", "version", "updated_at", "by", "expires_at"]);
    for context in &contexts {
        let text = |key: &str| context[key].as_str().unwrap_or_default();
        let name = format!("{}:{}", text("scope"), text("name"));
        let version = context["version"].to_string();
        rows.push([
            Text::Plain(&name),
            Text::Plain(&version),
            Text::Plain(text("updated_at")),
            Text::Plain(text("updated_by")),
            Text::Plain(text("expires_at")),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

impl Get {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let version = self.version.map(|version| version.to_string());
        let mut query: Vec<(&str, &str)> = Vec::new();
        query.extend(self.path.iter().map(|path| ("path", path.as_str())));
        query.extend(version.iter().map(|version| ("version", version.as_str())));
        let context = client.get(&self.context.path(&[]), &query).await?;
        if app.output.is_json() {
            app.output.json(&context)?;
            return Ok(Exit::Done);
        }
        let data = &context["data"];
        let pretty = || serde_json::to_string_pretty(data).unwrap_or_default();
        let text = data.as_str().map_or_else(pretty, plain);
        app.output.line(&text)?;
        Ok(Exit::Done)
    }
}

impl Set {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        if self.values.is_empty() && self.remove.is_empty() && self.ttl.is_none() {
            return Err(Failure::usage("nothing is to be written")
                .hint("give PATH=TEXT, PATH:=JSON or --remove PATH"));
        }
        let set: Map<String, Value> =
            self.values.into_iter().map(|setting| (setting.path, setting.value)).collect();
        let body = json!({ "set": set, "remove": self.remove, "why": self.why, "ttl": self.ttl });
        let done = client.patch(&self.context.path(&[]), &body, self.expect).await?;
        show_written(app, &done, &self.context)
    }
}

async fn diff(app: &App, client: &Client, from: &Pinned, to: &Pinned) -> Result<Exit, Failure> {
    let version = from.version.map(|version| version.to_string());
    let to_version = to.version.map(|version| version.to_string());
    let name = to.name.told();
    let mut query = vec![("to", name.as_str())];
    query.extend(version.iter().map(|version| ("version", version.as_str())));
    query.extend(to_version.iter().map(|version| ("to_version", version.as_str())));
    let found = client.get(&from.name.path(&["diff"]), &query).await?;
    if app.output.is_json() {
        app.output.json(&found)?;
    } else {
        app.output.line(&changes(&found["changes"]))?;
    }
    Ok(Exit::Done)
}

async fn history(app: &App, client: &Client, context: &Name, limit: u32) -> Result<Exit, Failure> {
    let found = client.list(&context.path(&["history"]), &[], Some(limit)).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(found))?;
        return Ok(Exit::Done);
    }
    for change in &found {
        let text = |key: &str| plain(change[key].as_str().unwrap_or_default());
        let why = change["why"].as_str().map(|why| format!(": {}", plain(why)));
        let (at, actor, why) = (text("at"), text("actor"), why.unwrap_or_default());
        app.output.line(&format!("version {}  {at}  {actor}{why}", change["version"]))?;
        let error = text("error");
        let told = if error.is_empty() { changes(&change["changes"]) } else { error };
        for line in told.lines() {
            app.output.line(&format!("  {line}"))?;
        }
    }
    Ok(Exit::Done)
}

/// One line for each place that changed.
fn changes(changes: &Value) -> String {
    let lines = changes.as_array().into_iter().flatten().map(|change| {
        let path = plain(change["path"].as_str().unwrap_or_default());
        match (change.get("old"), change.get("new")) {
            (None, Some(new)) => format!("+ {path} = {new}"),
            (Some(old), None) => format!("- {path} = {old}"),
            (old, new) => {
                format!(
                    "~ {path} = {} -> {}",
                    old.unwrap_or(&Value::Null),
                    new.unwrap_or(&Value::Null)
                )
            }
        }
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { "nothing differs".to_owned() } else { lines.join("\n") }
}

fn show_written(app: &App, done: &Value, context: &Name) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(done)?;
        return Ok(Exit::Done);
    }
    app.output.line(&changes(&done["changes"]))?;
    for conflict in done["conflicts"].as_array().into_iter().flatten() {
        let path = plain(conflict["path"].as_str().unwrap_or_default());
        let taken = conflict["taken"].as_str().map_or("nobody settles it", |side| side);
        app.output.line(&format!("! {path}: both changed it; taken: {taken}"))?;
    }
    app.output.line(&format!("{} has version {}", plain(&context.told()), done["version"]))?;
    Ok(Exit::Done)
}
