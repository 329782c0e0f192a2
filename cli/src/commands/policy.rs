//! `jobshop policy`: rules about what agents may do.

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::client::objects::{self, tail};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// List the rules in order: the first that fits decides
    List {
        /// Removed rules too
        #[arg(long)]
        removed: bool,
    },
    /// Add a rule; in patterns `*` stands for anything
    Add(Box<Add>),
    /// Take a rule out of use; it stays listed among the removed ones
    Remove {
        /// The id of a rule, or its last characters (6 or more)
        id: String,
    },
    /// Say what the rules would decide
    Test(Test),
    /// Show rules that would have said what people answered again and again
    Suggest,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    Allow,
    Deny,
    Ask,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnTimeout {
    Deny,
    Allow,
    Escalate,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    action: Action,
    /// bash, edit, webfetch, …; every one without it
    #[arg(long, value_name = "PATTERN")]
    tool: Option<String>,
    /// A command, with the tool bash
    #[arg(long, value_name = "PATTERN")]
    command: Option<String>,
    /// A path, as the agent names it
    #[arg(long, value_name = "PATTERN")]
    path: Option<String>,
    /// A host
    #[arg(long, value_name = "PATTERN")]
    host: Option<String>,
    /// Who may answer: a key's name, or a role; may be given several times
    #[arg(long, value_name = "NAME")]
    from: Vec<String>,
    /// So many of them have to allow it
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,
    /// How long they have
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// What happens when nobody answers in time
    #[arg(long)]
    on_timeout: Option<OnTimeout>,
    /// The place among the rules, from 1; behind all others without it
    #[arg(long, value_name = "N")]
    position: Option<u32>,
    /// Why; kept with the rule
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Test {
    /// bash, edit, webfetch, …
    tool: String,
    /// A command, a path or an address
    what: Option<String>,
    /// What the workflow says of it
    #[arg(long)]
    workflow: Option<Action>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    id: String,
    position: Option<i64>,
    tool: String,
    command: Option<String>,
    path: Option<String>,
    host: Option<String>,
    action: String,
    from: Vec<String>,
    quorum: i64,
    timeout: String,
    on_timeout: String,
    reason: Option<String>,
    created_by: String,
}

impl Policy {
    fn pattern(&self) -> String {
        let named = [("command", &self.command), ("path", &self.path), ("host", &self.host)];
        let named = named.iter().find_map(|(name, it)| Some(format!("{name} {}", it.as_ref()?)));
        named.unwrap_or_default()
    }

    fn asks(&self) -> String {
        if self.action != "ask" {
            return String::new();
        }
        let from = if self.from.is_empty() { "operator".to_owned() } else { self.from.join(" ") };
        format!("{} of {from}, {}, then {}", self.quorum, self.timeout, self.on_timeout)
    }
}

impl PolicyCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::List { removed } => {
                let query: &[(&str, &str)] = if removed { &[("removed", "true")] } else { &[] };
                let policies = client.list(&["policies"], query, None).await?;
                list(app, policies)
            }
            Self::Add(add) => {
                let object = client.post(&["policies"], &add.body(), None).await?;
                said(app, &object, "added")
            }
            Self::Remove { id } => {
                let object = client.delete(&["policies", &id]).await?;
                said(app, &object, "removed")
            }
            Self::Suggest => {
                let found = client.list(&["policies", "suggestions"], &[], None).await?;
                suggest(app, found)
            }
            Self::Test(test) => {
                let mut body = json!({ "tool": test.tool });
                if let Some(what) = test.what {
                    body["what"] = Value::from(what);
                }
                if let Some(action) = test.workflow {
                    body["workflow"] = Value::from(action.as_str());
                }
                let object = client.post(&["policies", "test"], &body, None).await?;
                if app.output.is_json() {
                    app.output.json(&object)?;
                    return Ok(Exit::Done);
                }
                let action = object["action"].as_str().unwrap_or_default();
                let by = match object["rule"].as_str() {
                    Some(rule) => format!("by the rule {}", tail(rule)),
                    None => "by the workflow, no rule fits".to_owned(),
                };
                app.output.line(&format!("{action}, {by}"))?;
                Ok(Exit::Done)
            }
        }
    }
}

impl Add {
    fn body(self) -> Value {
        let mut body = Map::new();
        body.insert("action".to_owned(), self.action.as_str().into());
        let mut set = |name: &str, value: Option<Value>| {
            body.extend(value.map(|value| (name.to_owned(), value)));
        };
        set("tool", self.tool.map(Value::from));
        set("command", self.command.map(Value::from));
        set("path", self.path.map(Value::from));
        set("host", self.host.map(Value::from));
        set("from", (!self.from.is_empty()).then(|| json!(self.from)));
        set("quorum", self.quorum.map(Value::from));
        set("timeout", self.timeout.map(Value::from));
        set(
            "on_timeout",
            self.on_timeout.map(|it| match it {
                OnTimeout::Deny => "deny".into(),
                OnTimeout::Allow => "allow".into(),
                OnTimeout::Escalate => "escalate".into(),
            }),
        );
        set("position", self.position.map(Value::from));
        set("reason", self.reason.map(Value::from));
        Value::Object(body)
    }
}

fn list(app: &App, policies: Vec<Value>) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&Value::Array(policies))?;
        return Ok(Exit::Done);
    }
    if policies.is_empty() {
        app.output.note("there are no rules: what workflows allow is allowed");
        return Ok(Exit::Done);
    }
    let columns = ["#", "id", "action", "tool", "pattern", "asks", "by", "reason"];
    let mut rows = Rows::new(app.output, &columns);
    for policy in &policies {
        let policy: Policy = objects::read(policy)?;
        rows.push([
            Text::Owned(policy.position.map_or_else(|| "removed".to_owned(), |it| it.to_string())),
            Text::Plain(tail(&policy.id)),
            Text::Plain(&policy.action),
            Text::Plain(&policy.tool),
            Text::Owned(plain(&policy.pattern())),
            Text::Owned(policy.asks()),
            Text::Plain(&policy.created_by),
            Text::Plain(policy.reason.as_deref().unwrap_or_default()),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

fn suggest(app: &App, found: Vec<Value>) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&Value::Array(found))?;
        return Ok(Exit::Done);
    }
    if found.is_empty() {
        app.output.note("nothing was answered alike often enough");
        return Ok(Exit::Done);
    }
    for it in &found {
        let word = |name: &str| plain(it[name].as_str().unwrap_or_default());
        let named = ["command", "path", "host"].iter().find(|name| it[**name].is_string());
        let pattern = named.map_or_else(String::new, |name| {
            format!(" --{name} '{}'", word(name).replace('\'', "'\\''"))
        });
        let by: Vec<&str> =
            it["by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        app.output.line(&format!(
            "jobshop policy add {} --tool {}{pattern}    # {} answers by {}",
            word("action"),
            word("tool"),
            it["answers"],
            plain(&by.join(", ")),
        ))?;
    }
    Ok(Exit::Done)
}

fn said(app: &App, object: &Value, did: &str) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(object)?;
        return Ok(Exit::Done);
    }
    let policy: Policy = objects::read(object)?;
    let (action, tool, pattern) = (&policy.action, plain(&policy.tool), policy.pattern());
    app.output.line(&format!("{did} {}: {action} {tool} {}", tail(&policy.id), plain(&pattern)))?;
    Ok(Exit::Done)
}
