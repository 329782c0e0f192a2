//! `jobshop key`: what people and programs come in with.

use clap::{Args, Subcommand};
use jobshop_engine::role::Role;
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and show it, this once
    Create {
        /// Who acts with it; events and approvals name it
        name: String,
        /// viewer reads; operator also submits, steers and approves; admin also registers
        /// workflows and makes keys
        #[arg(long, value_parser = |text: &str| text.parse::<Role>())]
        role: Role,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// List the keys, revoked ones too
    List {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take its power from a key, at once
    Revoke {
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

/// Whose keys are meant.
#[derive(Debug, Args)]
pub(super) struct TenantArgs {
    /// Another tenant than that of the key you come with
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl TenantArgs {
    fn query(&self) -> Vec<(&str, &str)> {
        self.tenant.iter().map(|name| ("tenant", name.as_str())).collect()
    }
}

impl KeyCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::Create { name, role, tenant } => {
                let mut body = json!({ "name": name, "role": role });
                if let Some(tenant) = tenant.tenant {
                    body["tenant"] = json!(tenant);
                }
                let made = client.post(&["keys"], &body, None).await?;
                if app.output.is_json() {
                    app.output.json(&made)?;
                } else {
                    // The key alone goes to standard output, so that scripts can take it.
                    app.output.note("keep it well: it is shown this once; use it as JOBSHOP_TOKEN");
                    app.output.line(made["key"].as_str().unwrap_or_default())?;
                }
            }
            Self::List { tenant } => {
                let keys = client.list(&["keys"], &tenant.query(), None).await?;
                list(app, keys)?;
            }
            Self::Revoke { name, tenant } => {
                let path = ["keys", &name, "revoke"];
                let revoked = client.post_with(&path, &tenant.query(), &json!({})).await?;
                if app.output.is_json() {
                    app.output.json(&revoked)?;
                } else {
                    app.output.line(&format!("key {} opens nothing any more", plain(&name)))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn list(app: &App, keys: Vec<Value>) -> Result<(), Failure> {
    if app.output.is_json() {
        return app.output.json(&Value::Array(keys));
    }
    if keys.is_empty() {
        app.output.note("there is no key but the server's own; `jobshop key create` makes one");
        return Ok(());
    }
    let columns = ["name", "role", "tenant", "created_by", "created_at", "revoked_at"];
    let mut rows = Rows::new(app.output, &columns);
    for key in &keys {
        rows.push(columns.map(|column| Text::Plain(key[column].as_str().unwrap_or_default())));
    }
    Ok(app.output.line(&rows.render())?)
}
