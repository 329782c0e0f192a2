//! `jobshop tenant`: who shares this installation.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Make a tenant; `key create NAME --tenant TENANT` makes keys for it
    Create {
        name: String,
        /// How often it has its turn where several tenants have work, 1 to 100
        #[arg(long, default_value_t = 1)]
        weight: i16,
    },
    /// List the tenants
    List,
}

impl TenantCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::Create { name, weight } => {
                let body = json!({ "name": name, "weight": weight });
                let made = client.post(&["tenants"], &body, None).await?;
                if app.output.is_json() {
                    app.output.json(&made)?;
                } else {
                    app.output.line(&format!(
                        "tenant {0} is made; `jobshop key create NAME --role admin --tenant {0}` \
                         makes a key for it",
                        plain(&name)
                    ))?;
                }
            }
            Self::List => {
                let tenants = client.list(&["tenants"], &[], None).await?;
                if app.output.is_json() {
                    app.output.json(&Value::Array(tenants))?;
                    return Ok(Exit::Done);
                }
                let mut rows = Rows::new(app.output, &["name", "weight", "created_at"]);
                for tenant in &tenants {
                    let text = |key: &str| Text::Plain(tenant[key].as_str().unwrap_or_default());
                    let weight = tenant["weight"].to_string();
                    rows.push([text("name"), Text::Plain(&weight), text("created_at")]);
                }
                app.output.line(&rows.render())?;
            }
        }
        Ok(Exit::Done)
    }
}
