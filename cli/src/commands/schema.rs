//! `jobshop schema`: the JSON Schema of the workflow language, for editors.

use jobshop_engine::workflow::json_schema;

use crate::app::App;
use crate::exit::{Exit, Failure};

pub(super) fn execute(app: &App) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&json_schema()).map_err(std::io::Error::from)?;
    app.output.line(&text)?;
    Ok(Exit::Done)
}
