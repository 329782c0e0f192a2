//! `jobshop doctor`: every setting with its origin, and whether what Jobshop needs is there.

use std::process::{Command, Stdio};

use clap::Args;
use jobshop_workers::execute::sandbox_fault;
use serde::Serialize;
use serde_json::{Value, json};

use crate::agents;
use crate::app::App;
use crate::cluster;
use crate::config::{Sandbox, Shown};
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::service::Database;
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

impl Doctor {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let dir = app.data_dir()?;
        let checks = [
            data_dir(&dir),
            database(app, &dir).await,
            git(),
            sandbox(app),
            agents(app),
            server(app).await,
        ];
        let exit = if checks.iter().all(|check| check.ok) { Exit::Done } else { Exit::Temporary };
        if app.output.is_json() {
            let settings: Vec<Value> = app.config.shown.iter().map(setting).collect();
            app.output.json(&json!({ "settings": settings, "checks": checks }))?;
            return Ok(exit);
        }
        let mut rows = Rows::new(app.output, &["setting", "value", "from", "variable"]);
        for shown in &app.config.shown {
            rows.push([
                Text::Plain(shown.setting.key),
                Text::Plain(shown.value.as_deref().unwrap_or("-")),
                Text::Plain(shown.origin.as_deref().unwrap_or("not set")),
                Text::Plain(shown.setting.variable),
            ]);
        }
        app.output.line(&rows.render())?;
        app.output.line("")?;
        for check in &checks {
            let sign = if check.ok { "ok " } else { "BAD" };
            app.output.line(&format!(" {sign} {}: {}", check.name, check.detail))?;
        }
        Ok(exit)
    }
}

fn setting(shown: &Shown) -> Value {
    json!({
        "name": shown.setting.key,
        "variable": shown.setting.variable,
        "value": shown.value,
        "from": shown.origin,
        "about": shown.setting.about,
    })
}

fn data_dir(dir: &DataDir) -> Check {
    let path = dir.path().display();
    let (ok, detail) = match (dir.holder(), std::fs::metadata(dir.path())) {
        (Some(holder), _) => (true, format!("{path}, used by process {}", holder.pid)),
        (None, Ok(found)) if found.is_dir() => (true, format!("{path}, not in use")),
        (None, Ok(_)) => (false, format!("{path} is not a folder")),
        (None, Err(_)) => (true, format!("{path}, made at the first start")),
    };
    Check { name: "data directory", ok, detail }
}

/// The external database answers, or there is a Postgres for one of our own.
async fn database(app: &App, dir: &DataDir) -> Check {
    let found = if Database::is_named(app) {
        Database::ask(app).await.map(|()| "DATABASE_URL answers".to_owned())
    } else {
        let programs = cluster::programs(dir.path());
        programs
            .map_err(Failure::from)
            .map(|(major, folder)| format!("embedded, Postgres {major} of {}", folder.display()))
    };
    match found {
        Ok(detail) => Check { name: "database", ok: true, detail },
        Err(failure) => Check { name: "database", ok: false, detail: failure.message },
    }
}

/// Workspaces are clones, so git is needed as soon as a workflow names a repository.
fn git() -> Check {
    let output = Command::new("git").arg("--version").stdin(Stdio::null()).output();
    let (ok, detail) = match output {
        Ok(output) if output.status.success() => {
            (true, String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => (false, "not found; install git 2.38 or later".to_owned()),
    };
    Check { name: "git", ok, detail }
}

/// Without a sandbox agents are refused, and with `require` everything is. That is no fault of a machine
/// whose workers are elsewhere, or which runs none of these, unless it was asked for.
fn sandbox(app: &App) -> Check {
    let mode = app.config.values.sandbox;
    let fault = (mode != Sandbox::Off).then(sandbox_fault).flatten();
    let ok = fault.is_none() || mode != Sandbox::Require;
    let detail = match (mode, fault) {
        (Sandbox::Off, _) => "off: agents see and change whatever the worker may".to_owned(),
        (_, None) => "bubblewrap works".to_owned(),
        (_, Some(fault)) => format!(
            "{fault}; agents are refused here. Install bubblewrap, or let them run without a sandbox \
             (JOBSHOP_SANDBOX=off)"
        ),
    };
    Check { name: "sandbox", ok, detail }
}

/// No agent is no fault: commands and other programs do without.
fn agents(app: &App) -> Check {
    let mut found = Vec::new();
    if let Some(opencode) = agents::opencode(app) {
        let program = &opencode.program;
        let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        match asked {
            Ok(answer) if answer.status.success() => {
                let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                found.push(format!("opencode {version} of {}", program.display()));
            }
            _ => {
                let detail = format!("{} does not start", program.display());
                return Check { name: "agents", ok: false, detail };
            }
        }
    }
    let speaking = ["claude-agent-acp", "codex-acp", "gemini"];
    found
        .extend(speaking.into_iter().filter(|name| agents::is_there(app, name)).map(str::to_owned));
    if let Some(command) = &app.config.values.agent_command {
        found.push(format!("`{command}`"));
    }
    let none = "none found; `make setup-agents` installs opencode, `make \
                setup-acp-agents` others"
        .to_owned();
    let detail = if found.is_empty() { none } else { found.join(", ") };
    Check { name: "agents", ok: true, detail }
}

/// No server is no fault; one that does not answer is.
async fn server(app: &App) -> Check {
    let found = match app.running_client() {
        Ok(Some(client)) => match client.get(&["sessions"], &[("limit", "1")]).await {
            Ok(_) => Ok(format!("{} answers", client.server.url)),
            Err(failure) => Err(failure.message),
        },
        Ok(None) => Ok("none is running".to_owned()),
        Err(failure) => Err(failure.message),
    };
    match found {
        Ok(detail) => Check { name: "server", ok: true, detail },
        Err(detail) => Check { name: "server", ok: false, detail },
    }
}
