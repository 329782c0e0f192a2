//! `jobshop session watch`: follows a session to its end. Ending the command leaves the session
//! alone.

use clap::Args;

use super::SessionName;
use crate::app::App;
use crate::commands::follow;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(in crate::commands) struct Watch {
    #[command(flatten)]
    name: SessionName,
    /// With --json, begin after this event
    #[arg(long, value_name = "N", default_value_t = 0, requires = "json")]
    after: i64,
    /// Count allowed failures as failures
    #[arg(long)]
    strict: bool,
    /// Exit with 6 as soon as nothing goes on before a person decides or sends a signal
    #[arg(long)]
    exit_on_wait: bool,
}

impl Watch {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let (session, _) = self.name.find(&client).await?;
        let (strict, until) = (self.strict.into(), self.exit_on_wait.into());
        if app.output.is_json() {
            return follow::events(app, &client, &session, (self.after, until), strict).await;
        }
        follow::to_end(app, &client, &session, (strict, until)).await
    }
}
