//! Log lines on standard error, for the processes that run for long. It does not decide what is
//! logged where.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::exit::Failure;
use crate::output::Output;

/// What is logged when the settings do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// One line a transition.
    Transitions,
    /// Only what a person should know of.
    Warnings,
}

/// Begins to write log lines. A second call changes nothing.
pub fn start(config: &Config, output: Output, detail: Detail) -> Result<(), Failure> {
    let usual = match detail {
        // What sqlx warns of, whoever asked says too; and it repeats whole statements.
        Detail::Transitions => "info,sqlx=error,hyper=warn,apalis=warn",
        Detail::Warnings => "warn,sqlx=error,postgres=error",
    };
    let text = config.values.log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(text)
        .map_err(|error| Failure::usage(format!("JOBSHOP_LOG: `{text}` is wrong: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(output.is_error_coloured());
    let _ = match config.values.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}
