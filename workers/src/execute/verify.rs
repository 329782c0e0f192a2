//! `verify`: whether what a task made is what it should be is not the task's to say. Its commands run
//! in a clean checkout of the captured commit, after the work is done; what they came to is kept as
//! evidence. An agent whose result does not pass may get more turns, each told what failed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Work, Workspace},
    checkpoint::Resume,
    evidence::{Checked, Finding},
    outcome::{ErrorClass, Failure, Outcome},
    plan::{AgentRuntime, Command, Verify},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    Inner, capture,
    command::{Limits, Program},
    complaint::Complaint,
    directory::{Directory, Room},
    environment::{self, Environment},
    git::{Git, entries, make_bare, text},
    halt::{Done, Halt},
    keeper::Keeper,
    log::LogWriter,
    repository::Repository,
    run::Checkout,
};

/// Variables that differ between executions of the same thing.
const PASSING: [&str; 7] = [
    "TMPDIR",
    "JOBSHOP_ATTEMPT",
    "JOBSHOP_FENCE",
    "JOBSHOP_OUTPUT",
    "JOBSHOP_WORKSPACE",
    "JOBSHOP_SESSION",
    "JOBSHOP_IDEMPOTENCY_KEY",
];

/// What commands came to.
pub(super) struct Tried {
    commands: Vec<Checked>,
    environment: String,
    pub(super) complaint: Option<Complaint>,
}

/// An attempt while it is judged.
#[derive(Clone, Copy)]
pub(super) struct Judging<'a> {
    pub(super) limits: &'a Limits,
    pub(super) log: &'a LogWriter,
    pub(super) keeper: Option<&'a Keeper>,
}

/// What a round came to.
enum Round {
    Over(Done<Outcome>),
    Again(Complaint, Map<String, Value>),
}

impl Inner {
    /// Judges what `done` came to; `None` where an agent gets another turn, which `attempt` and
    /// `directory` stand for then.
    pub(super) async fn judge(
        &self,
        done: Done<Outcome>,
        turn: &mut Turns<'_>,
        directory: &mut Directory,
        judging: Judging<'_>,
    ) -> Option<Done<Outcome>> {
        let (complaint, outputs) = match self.round(done, turn, directory, judging).await {
            Round::Over(done) => return Some(done),
            Round::Again(complaint, outputs) => (complaint, outputs),
        };
        if turn.round > turn.rounds_more() {
            let failure = Failure::new(ErrorClass::Error, complaint.message);
            let is_allowed = turn.attempt.is_failure_allowed;
            let outputs = if is_allowed { Value::Object(outputs) } else { json!({}) };
            return Some(Ok(Outcome::Failed { failure, outputs }));
        }
        judging.log.note(&complaint.message);
        judging.log.note(&format!("round {}: the agent is told what failed", turn.round + 1));
        let fresh = self.directories.create(&turn.attempt.fence);
        let fresh = match fresh.context("creating the directory of another turn") {
            Ok(fresh) => fresh,
            Err(error) => return Some(Err(error.into())),
        };
        let old = std::mem::replace(directory, fresh);
        self.programs.sandbox.forget(old.path());
        let directories = self.directories.clone();
        let removed = tokio::task::spawn_blocking(move || directories.remove(&old)).await;
        if let Err(error) = removed.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "cannot remove the directory of an earlier turn");
        }
        turn.go_on(complaint, &outputs);
        None
    }

    async fn round(
        &self,
        done: Done<Outcome>,
        turn: &mut Turns<'_>,
        directory: &Directory,
        judging: Judging<'_>,
    ) -> Round {
        let outputs = match done {
            Ok(Outcome::Succeeded(Value::Object(outputs))) => outputs,
            other => return Round::Over(other),
        };
        let outputs = match self.whole(outputs, turn, judging).await {
            Ok(outputs) => outputs,
            Err(halt) => return Round::Over(Err(halt)),
        };
        if turn.attempt.expected.diff && is_empty(&outputs) {
            return Round::Again(Complaint::nothing_changed(), outputs);
        }
        let Some(verify) = &turn.attempt.expected.verify else {
            return Round::Over(Ok(Outcome::Succeeded(Value::Object(outputs))));
        };
        match self.verify(verify, turn, directory, &outputs, judging).await {
            Ok(None) => Round::Over(Ok(Outcome::Succeeded(Value::Object(outputs)))),
            Ok(Some(complaint)) => Round::Again(complaint, outputs),
            Err(halt) => Round::Over(Err(halt)),
        }
    }

    /// The outputs of a later turn, with what the earlier ones made and used.
    async fn whole(
        &self,
        mut outputs: Map<String, Value>,
        turn: &mut Turns<'_>,
        judging: Judging<'_>,
    ) -> Done<Map<String, Value>> {
        if let Some(base) = turn.base.clone().filter(|_| turn.round > 1) {
            if let Some(commit) = outputs.get("commit").and_then(Value::as_str) {
                let repository = self.repository(turn.attempt)?;
                let stat = capture::between(&repository, &base, commit);
                let stat = judging.limits.hold(async { Ok(stat.await?) }).await?;
                outputs.insert("diff_stat".to_owned(), json!(stat));
            }
            outputs.insert("base".to_owned(), base.into());
            let usage = sum(turn.usage.take(), outputs.get("usage").cloned());
            outputs.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        if turn.round == 1 {
            turn.base = outputs.get("base").and_then(Value::as_str).map(str::to_owned);
        }
        turn.usage = outputs.get("usage").cloned();
        Ok(outputs)
    }

    fn repository(&self, attempt: &Attempt) -> Done<Repository> {
        let Workspace::Clone { repo, .. } = &attempt.workspace else {
            return Err(Halt::error("a workspace without a repository"));
        };
        self.repositories.locate(repo, attempt.file_dir.as_deref())
    }

    /// Executes the commands on what was made, and keeps what they came to.
    async fn verify(
        &self,
        verify: &Verify,
        turn: &Turns<'_>,
        directory: &Directory,
        outputs: &Map<String, Value>,
        judging: Judging<'_>,
    ) -> Done<Option<Complaint>> {
        let Judging { limits, log, keeper } = judging;
        let commit = outputs.get("commit").and_then(Value::as_str);
        let clean = match commit {
            Some(commit) => Some(self.check_out(turn.attempt, commit, directory, limits).await?),
            None => None,
        };
        let room = Room {
            workspace: clean.as_ref().map_or_else(|| directory.workspace(), |it| it.path.clone()),
            ..directory.verify_room()
        };
        // A clean checkout has to be set up as the workspace was.
        let setup = turn.attempt.setup.iter().filter(|_| clean.is_some());
        let commands: Vec<Command> = setup.chain(&verify.commands).cloned().collect();
        let tried = self.try_out(&commands, turn.attempt, directory, &room, (limits, log));
        let Tried { commands, environment, mut complaint } = tried.await?;
        let mut finding = Finding {
            round: i32::try_from(turn.round).unwrap_or(i32::MAX),
            commit: commit.map(str::to_owned),
            commands,
            changed: Vec::new(),
            environment,
        };
        if let Some(clean) = &clean {
            finding.changed = limits.hold(clean.changed(&directory.verify_scratch())).await?;
        }
        if complaint.is_none() && !finding.changed.is_empty() {
            complaint = Some(Complaint::changed(&finding.changed));
        }
        if let Some(keeper) = keeper {
            let attempt = turn.attempt;
            if !keeper.evidence(attempt.fence, &attempt.task, finding).await {
                return Err(Halt::Released);
            }
        }
        Ok(complaint)
    }

    /// Executes commands in a room, up to the first that fails.
    pub(super) async fn try_out(
        &self,
        commands: &[Command],
        attempt: &Attempt,
        directory: &Directory,
        room: &Room,
        (limits, log): (&Limits, &LogWriter),
    ) -> Done<Tried> {
        room.create().context("making a place to verify in")?;
        let (place, output) = (&room.workspace, room.outputs.join("output"));
        let own = |name: &str| std::env::var(name).ok();
        let mut env = environment::of(attempt, place, &output, &self.config.pass_env, own)?;
        self.confine(attempt, directory, room, &mut env)?;
        let mut tried = Tried { commands: Vec::new(), environment: digest(&env), complaint: None };
        log.note(&format!("{} command(s) to verify", commands.len()));
        for command in commands {
            let argv = argv(command, directory, room)?;
            let begun = Instant::now();
            let program = Program { argv: &argv, dir: place, env: &env, stdin: None };
            let exit = self.programs.execute(&program, limits, log).await?;
            let name = in_words(command);
            tried.complaint = Complaint::of(&name, &exit);
            tried.commands.push(Checked {
                command: name,
                exit_code: exit.code(),
                log_sha256: exit.log_sha256.clone(),
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
            if tried.complaint.is_some() {
                break;
            }
        }
        Ok(tried)
    }

    async fn check_out(
        &self,
        attempt: &Attempt,
        commit: &str,
        directory: &Directory,
        limits: &Limits,
    ) -> Done<Clean> {
        let repository = self.repository(attempt)?;
        let path = directory.verification();
        let cloning = async {
            repository.obtain(commit).await?;
            repository.clone_to(&path, commit).await
        };
        limits.hold(cloning).await?;
        Ok(Clean { repository, path, commit: commit.to_owned() })
    }
}

/// The turns of one attempt.
pub(super) struct Turns<'a> {
    pub(super) attempt: &'a Attempt,
    /// The attempt as the next turn takes it, where it is not the first.
    next: Option<Box<Attempt>>,
    /// From 1.
    round: u32,
    /// Where the first turn began.
    base: Option<String>,
    usage: Option<Value>,
    /// What failed last, for the agent.
    told: String,
}

impl<'a> Turns<'a> {
    pub(super) fn new(attempt: &'a Attempt) -> Self {
        Self { attempt, next: None, round: 1, base: None, usage: None, told: String::new() }
    }

    /// What the turn is to do.
    pub(super) fn current(&self) -> &Attempt {
        self.next.as_deref().unwrap_or(self.attempt)
    }

    fn rounds_more(&self) -> u32 {
        let is_agent = matches!(self.attempt.work, Work::Agent(_));
        let verify = self.attempt.expected.verify.as_ref().filter(|_| is_agent);
        verify.map_or(0, |verify| verify.max_rounds)
    }

    /// The conversation of the turn before, where the next one goes on with it: it is told only what
    /// failed then.
    pub(super) async fn conversation(&mut self, keeper: Option<&Keeper>) -> Option<Resume> {
        let verify = self.attempt.expected.verify.as_ref();
        let is_wanted = verify.is_some_and(|verify| verify.resume_session);
        let Work::Agent(work) = &mut self.next.as_mut()?.work else { return None };
        let converses = matches!(work.runtime, AgentRuntime::Opencode | AgentRuntime::Acp);
        let keeper = keeper.filter(|_| is_wanted && converses)?;
        let resume = keeper.conversation(self.attempt.fence.task).await?;
        work.prompt.clone_from(&self.told);
        Some(resume)
    }

    fn go_on(&mut self, complaint: Complaint, outputs: &Map<String, Value>) {
        let mut next = self.attempt.clone();
        if let Work::Agent(work) = &mut next.work {
            work.prompt = format!("{}\n\n{}", work.prompt, complaint.told);
        }
        self.told = complaint.told;
        if let Workspace::Clone { at, .. } = &mut next.workspace {
            let commit = outputs.get("commit").and_then(Value::as_str);
            *at = commit.map(str::to_owned).or_else(|| at.take());
        }
        self.next = Some(Box::new(next));
        self.round += 1;
    }
}

/// A clone that nobody has worked in.
struct Clean {
    repository: Repository,
    path: PathBuf,
    commit: String,
}

impl Clean {
    /// Files of the commit that are no longer what they were. What was added beside them is no part
    /// of it.
    async fn changed(&self, git_dir: &Path) -> Done<Vec<String>> {
        const NAMED: usize = 20;
        make_bare(git_dir)?;
        let git = |name| {
            let git = Git::isolated(name).dir(git_dir).objects(&self.repository.objects());
            git.work_tree(&self.path)
        };
        git("read-tree").arg(&self.commit).bytes().await?;
        let listed = git("ls-files").args(["-z", "--stage"]).bytes().await?;
        let submodules = entries(&listed).filter(|line| line.starts_with(b"160000"));
        let paths = submodules
            .filter_map(|line| Some(&line[line.iter().position(|byte| *byte == b'\t')? + 1..]));
        let mut forgotten = Vec::new();
        for path in paths {
            forgotten.extend_from_slice(path);
            forgotten.push(0);
        }
        if !forgotten.is_empty() {
            let forget = git("update-index").args(["--force-remove", "-z", "--stdin"]);
            forget.input(forgotten).bytes().await?;
        }
        git("update-index").args(["-q", "--refresh"]).coded().await?;
        let changed = git("diff-files").args(["-z", "--name-only"]).bytes().await?;
        Ok(entries(&changed).take(NAMED).map(text).collect())
    }
}

/// Commits what a command left in its clone, so that it can be verified.
pub(super) async fn captured(
    checkout: &Checkout,
    attempt: &Attempt,
    directory: &Directory,
    log: &LogWriter,
) -> Done<[(&'static str, Value); 3]> {
    let Checkout { repository, commit: base } = checkout;
    let places = (directory.scratch(), directory.workspace());
    let message = format!("{}\n\nJobshop-Task: {}\n", attempt.task, attempt.fence.task);
    let captured =
        capture::capture(repository, (&places.0, &places.1), base, &message, log).await?;
    capture::publish(repository, &attempt.fence, &captured.commit).await?;
    Ok([
        ("commit", captured.commit.into()),
        ("base", base.clone().into()),
        ("diff_stat", json!(captured.diff_stat)),
    ])
}

fn is_empty(outputs: &Map<String, Value>) -> bool {
    let of = |name: &str| outputs.get(name).and_then(Value::as_str);
    matches!((of("commit"), of("base")), (Some(commit), Some(base)) if commit == base)
}

pub(super) fn in_words(command: &Command) -> String {
    match command {
        Command::Script(script) => script.trim().to_owned(),
        Command::Argv(argv) => argv.join(" "),
    }
}

/// A script lies in a file beside the checkout, under a name of its own.
fn argv(command: &Command, directory: &Directory, room: &Room) -> Done<Vec<String>> {
    match command {
        Command::Argv(argv) => Ok(argv.clone()),
        Command::Script(script) => {
            let digest = super::command::hex(&Sha256::digest(script.as_bytes())[..8]);
            let place = room.workspace.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{place}-{digest}");
            if !directory.path().join(&name).exists() {
                directory.write(&name, script).context("writing the script")?;
            }
            Ok(["bash", "-euo", "pipefail", &format!("../{name}")].map(str::to_owned).into())
        }
    }
}

/// The environment as a digest: the same for every execution of the same thing on like machines.
fn digest(env: &Environment) -> String {
    let mut sorted: Vec<_> =
        env.iter().filter(|(name, _)| !PASSING.contains(&name.as_str())).collect();
    sorted.sort();
    let mut digest = Sha256::new();
    digest.update(format!("{} {}\n", std::env::consts::OS, std::env::consts::ARCH));
    for (name, value) in sorted {
        digest.update(format!("{name}={value}\0"));
    }
    super::command::hex(&digest.finalize())
}

/// What two turns used: numbers are added, wherever they stand.
fn sum(before: Option<Value>, now: Option<Value>) -> Option<Value> {
    match (before, now) {
        (None | Some(Value::Null), other) | (other, None | Some(Value::Null)) => other,
        (Some(Value::Object(before)), Some(Value::Object(mut now))) => {
            for (name, value) in before {
                let other = now.remove(&name);
                now.extend(sum(Some(value), other).map(|sum| (name, sum)));
            }
            Some(Value::Object(now))
        }
        (Some(Value::Number(before)), Some(Value::Number(now))) => {
            match (before.as_u64(), now.as_u64()) {
                (Some(before), Some(now)) => Some(json!(before + now)),
                _ => Some(json!(before.as_f64()? + now.as_f64()?)),
            }
        }
        (_, now) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_used_is_added_up() {
        let (before, now) = (
            json!({"tokens": {"input": 1, "output": 2}, "usd": 0.5, "model": "a"}),
            json!({"tokens": {"input": 10}, "usd": 1, "model": "b"}),
        );
        assert_eq!(
            sum(Some(before.clone()), Some(now)),
            Some(json!({"tokens": {"input": 11, "output": 2}, "usd": 1.5, "model": "b"}))
        );
        assert_eq!(sum(Some(before.clone()), Some(Value::Null)), Some(before));
        assert_eq!(sum(None, None), None);
    }
}
