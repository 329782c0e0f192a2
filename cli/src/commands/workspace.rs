//! `jobshop workspace`: what tasks work in on this machine, and what they left of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use jobshop_engine::duration::Span;
use jobshop_engine::id::SessionId;
use jobshop_engine::size::Size;
use jobshop_workers::workspaces::{self, Ref, Repository, State, Workspace};
use serde_json::{Value, json};

use crate::app::App;
use crate::client::{Client, objects};
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum WorkspaceCommand {
    /// List the workspaces on this machine
    List,
    /// Remove kept workspaces, and what sessions left in repositories, once they are old enough
    Gc(Gc),
    /// Keep the workspaces of a session, or of one task, when their attempts end
    Pin(Pin),
}

#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Spare what is younger than this
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    older_than: Span,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Pin {
    /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
    session: String,
    /// Only of this task
    task: Option<String>,
    /// Keep them no longer
    #[arg(long)]
    remove: bool,
}

impl WorkspaceCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::List => list(app),
            Self::Gc(command) => command.execute(app).await,
            Self::Pin(command) => command.execute(app).await,
        }
    }
}

/// The folders of workers on this machine: the data directory itself and those below it.
fn folders(app: &App) -> Result<Vec<PathBuf>, Failure> {
    let dir = app.data_dir()?;
    let mut folders = vec![dir.path().to_owned()];
    match std::fs::read_dir(dir.path().join("workers")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        entries => {
            for entry in entries? {
                folders.push(entry?.path());
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
}

fn all(folders: &[PathBuf]) -> Result<Vec<Workspace>, Failure> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(workspaces::list(folder)?);
    }
    Ok(all)
}

fn object(workspace: &Workspace) -> Value {
    json!({
        "session_id": workspace.session,
        "seq": workspace.seq,
        "attempt": workspace.attempt,
        "state": state(workspace),
        "pinned": workspace.is_pinned,
        "bytes": workspace.bytes,
        "changed_at": DateTime::<Utc>::from(workspace.changed),
        "path": workspace.path,
    })
}

fn state(workspace: &Workspace) -> &'static str {
    match workspace.state {
        State::Running => "running",
        State::Kept => "kept",
    }
}

fn list(app: &App) -> Result<Exit, Failure> {
    let found = all(&folders(app)?)?;
    if app.output.is_json() {
        app.output.json(&Value::Array(found.iter().map(object).collect()))?;
        return Ok(Exit::Done);
    }
    if found.is_empty() {
        app.output.note("no workspace is on this machine");
        return Ok(Exit::Done);
    }
    let columns = ["session", "task", "attempt", "state", "size", "path"];
    let mut rows = Rows::new(app.output, &columns);
    for workspace in &found {
        let pinned = if workspace.is_pinned { ", pinned" } else { "" };
        rows.push([
            Text::Owned(objects::tail(&workspace.session.to_string()).to_owned()),
            Text::Owned(workspace.seq.to_string()),
            Text::Owned(workspace.attempt.clone()),
            Text::Owned(format!("{}{pinned}", state(workspace))),
            Text::Owned(in_units(workspace.bytes)),
            Text::Owned(workspace.path.display().to_string()),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

/// Whole units are enough.
fn in_units(bytes: u64) -> String {
    let unit = [1_u64 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= *unit);
    let unit = unit.unwrap_or(1);
    Size { bytes: bytes / unit * unit }.to_string()
}

impl Pin {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let session: objects::Session = objects::read(&client.session(&self.session).await?)?;
        let seq = match &self.task {
            None => None,
            Some(task) => {
                let task = client.get(&["sessions", &session.id, "tasks", task], &[]).await?;
                task["seq"].as_i64().and_then(|seq| i32::try_from(seq).ok())
            }
        };
        let id = parsed(&session.id)?;
        let mut was_pinned = false;
        for folder in folders(app)? {
            if self.remove {
                was_pinned |= workspaces::unpin(&folder, id, seq)?;
            } else {
                workspaces::pin(&folder, id, seq)?;
            }
        }
        let is_pinned = !self.remove;
        if app.output.is_json() {
            let told = json!({ "session_id": session.id, "seq": seq, "pinned": is_pinned });
            app.output.json(&told)?;
        } else if is_pinned {
            app.output.note("what it works in on this machine stays; `jobshop workspace list`");
        } else if was_pinned {
            app.output
                .note("what it works in goes when `jobshop workspace gc` finds it old enough");
        } else {
            app.output.note("it was not pinned here");
        }
        Ok(Exit::Done)
    }
}

fn parsed(id: &str) -> Result<SessionId, Failure> {
    let id = id.parse().map_err(|_| Failure::temporary(format!("`{id}` is no id of a session")))?;
    Ok(SessionId(id))
}

impl Gc {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let folders = folders(app)?;
        let old = chrono::TimeDelta::from_std(self.older_than.to_std())
            .map_err(|_| Failure::usage("--older-than is too long"))?;
        let before = Utc::now() - old;
        let mut workspaces = all(&folders)?;
        workspaces.retain(|it| {
            let is_over = it.state == State::Kept && !it.is_pinned;
            is_over && DateTime::<Utc>::from(it.changed) <= before
        });
        let bytes: u64 = workspaces.iter().map(|it| it.bytes).sum();
        if !self.dry_run {
            for workspace in &workspaces {
                workspaces::remove(workspace)?;
            }
        }
        let refs = self.refs(app, &folders, before).await?;
        if app.output.is_json() {
            let refs: Vec<Value> = refs
                .iter()
                .map(|(repo, it)| json!({ "repo": repo, "ref": it.name, "session_id": it.session }))
                .collect();
            app.output.json(&json!({
                "dry_run": self.dry_run,
                "bytes": bytes,
                "workspaces": workspaces.iter().map(object).collect::<Vec<_>>(),
                "refs": refs,
            }))?;
            return Ok(Exit::Done);
        }
        let done = if self.dry_run { "would remove" } else { "removed" };
        let (count, names) = (workspaces.len(), refs.len());
        let size = in_units(bytes);
        app.output.line(&format!("{done} {count} workspace(s), {size}, and {names} ref(s)"))?;
        Ok(Exit::Done)
    }

    /// Removes the names of sessions that are over, and says which.
    async fn refs(
        &self,
        app: &App,
        folders: &[PathBuf],
        before: DateTime<Utc>,
    ) -> Result<Vec<(String, Ref)>, Failure> {
        let mut repositories: Vec<Repository> = Vec::new();
        for folder in folders {
            repositories.extend(workspaces::repositories(folder)?);
        }
        if repositories.is_empty() {
            return Ok(Vec::new());
        }
        let mut owners = Owners::new(app.client()?, before, folders.to_vec()).await?;
        let (mut removed, mut seen) = (Vec::new(), HashSet::new());
        for repository in repositories {
            if !seen.insert(repository.name()) {
                continue;
            }
            let refs = match repository.refs().await {
                Ok(refs) => refs,
                Err(error) => {
                    app.output.note(&format!("{} is passed over: {error:#}", repository.name()));
                    continue;
                }
            };
            let mut free = Vec::new();
            for it in refs {
                if owners.is_free(it.session).await? {
                    free.push(it);
                }
            }
            if !self.dry_run {
                let names: Vec<String> = free.iter().map(|it| it.name.clone()).collect();
                repository.remove(&names).await?;
            }
            removed.extend(free.into_iter().map(|it| (repository.name(), it)));
        }
        Ok(removed)
    }
}

/// Whose the names in repositories are.
struct Owners {
    client: Client,
    before: DateTime<Utc>,
    folders: Vec<PathBuf>,
    archived: HashSet<String>,
    /// Sessions whose commits others go on with.
    shared: HashSet<String>,
    known: HashMap<SessionId, bool>,
}

impl Owners {
    async fn new(
        client: Client,
        before: DateTime<Utc>,
        folders: Vec<PathBuf>,
    ) -> Result<Self, Failure> {
        const OPEN: &str = "pending,queued,running,paused,degraded";
        let id = |object: &Value| object["id"].as_str().map(str::to_owned);
        let archives = client.list(&["archives"], &[], None).await?;
        let archived = archives.iter().filter_map(id).collect();
        let open = client.list(&["sessions"], &[("status", OPEN)], None).await?;
        let mut shared = HashSet::new();
        for object in open {
            let mut origin = origin(&object);
            // A fork may be one of a fork.
            while let Some(id) = origin.filter(|id| !shared.contains(id)) {
                origin = match client.session(&id).await {
                    Ok(object) => self::origin(&object),
                    Err(failure) if failure.exit == Exit::NotFound => None,
                    Err(failure) => return Err(failure),
                };
                shared.insert(id);
            }
        }
        Ok(Self { client, before, folders, archived, shared, known: HashMap::new() })
    }

    /// Whether a session of ours is over, long enough, and nobody goes on with what it made.
    async fn is_free(&mut self, session: SessionId) -> Result<bool, Failure> {
        if let Some(known) = self.known.get(&session) {
            return Ok(*known);
        }
        let is_free = self.find_out(session).await?;
        self.known.insert(session, is_free);
        Ok(is_free)
    }

    async fn find_out(&self, session: SessionId) -> Result<bool, Failure> {
        let id = session.to_string();
        for folder in &self.folders {
            if workspaces::has_pins(folder, session)? {
                return Ok(false);
            }
        }
        if self.shared.contains(&id) {
            return Ok(false);
        }
        if self.archived.contains(&id) {
            return Ok(true);
        }
        let object = match self.client.session(&id).await {
            Ok(object) => object,
            // Another installation's, maybe.
            Err(failure) if failure.exit == Exit::NotFound => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let ended = object["finished_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
        if ended.is_none_or(|at| at > self.before) {
            return Ok(false);
        }
        match object["parent_id"].as_str() {
            None => Ok(true),
            Some(parent) => {
                let parent = self.client.session(parent).await?;
                Ok(!parent["finished_at"].is_null())
            }
        }
    }
}

/// The session that one was forked off.
fn origin(object: &Value) -> Option<String> {
    object["forked_from"]["session_id"].as_str().map(str::to_owned)
}
