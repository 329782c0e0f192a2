//! `jobshop provider`: the gates before providers' models.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum ProviderCommand {
    /// List providers' models: quota, who is let through, who refused and until when
    List,
    /// Set what an account may take of a model in a minute; what is left out is not limited
    Set(Set),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// As tasks name it, as in anthropic/claude-opus
    #[arg(value_name = "PROVIDER/MODEL")]
    model: String,
    /// As workers name it (`JOBSHOP_PROVIDER_ACCOUNT`)
    #[arg(long, default_value = "default")]
    account: String,
    /// Turns of agents that may begin in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,
    /// Tokens read and written in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
}

impl ProviderCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let providers = match self {
            Self::List => client.list(&["providers"], &[], None).await?,
            Self::Set(set) => {
                let body = json!({
                    "model": set.model, "account": set.account, "turns_per_minute": set.turns,
                    "tokens_per_minute": set.tokens,
                });
                let mut done = client.put(&["providers"], &body).await?;
                match done["items"].take() {
                    Value::Array(items) => items,
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Object(_) => Vec::new(),
                }
            }
        };
        tell(app, providers)
    }
}

fn tell(app: &App, providers: Vec<Value>) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&Value::Array(providers))?;
        return Ok(Exit::Done);
    }
    if providers.is_empty() {
        app.output
            .note("no provider was called; tasks name one as `agent: { model: PROVIDER/MODEL }`");
        return Ok(Exit::Done);
    }
    let columns = [
        "model",
        "account",
        "turns/min",
        "tokens/min",
        "breaker",
        "open until",
        "begun",
        "refused",
    ];
    let mut rows = Rows::new(app.output, &columns);
    for it in &providers {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "-".to_owned(),
        };
        let model = format!("{}/{}", text(&it["provider"]), text(&it["model"]));
        let quota = &it["quota"];
        rows.push([
            Text::Owned(model),
            Text::Owned(text(&it["account"])),
            Text::Owned(text(&quota["turns"])),
            Text::Owned(text(&quota["tokens"])),
            Text::Owned(text(&it["breaker"])),
            Text::Owned(text(&it["open_until"])),
            Text::Owned(text(&it["begun"])),
            Text::Owned(text(&it["refused"])),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}
