//! The turn of an agent that converses: its server is started, the supervisor stays with it, and what
//! it left is kept as a checkpoint, however it ended. It does not know any agent's protocol.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jobshop_engine::{
    attempt::Attempt,
    checkpoint::{Cause, NewCheckpoint, Resume, Snapshot, Spend},
    outcome::ErrorClass,
    plan::AgentRuntime,
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    Inner,
    agent::{Setting, Turn},
    capture,
    command::Limits,
    directory::Directory,
    git::Git,
    halt::{Done, Halt},
    link::Link,
    log::LogWriter,
    run::Checkout,
    runtimes::{
        AgentSession, Prompt, Recollection, Supervisor,
        acp::Acp,
        opencode::{Opencode, Origin},
    },
};

/// How long the last snapshot of a turn that failed may take.
const SALVAGE: Duration = Duration::from_secs(30);

const INTERRUPTED: &str = "The work was interrupted and goes on in a copy of the workspace as it was. \
     Your last command may have been cut off, or not have been seen to end: check its effects, then go \
     on with what you were asked to do.";

/// How often an agent that dies is started in one attempt.
const STARTS_MAX: u32 = 3;

const ANSWERED: &str = "People have answered what was asked before:";

const MEANWHILE: &str = "People said this meanwhile, and you may have heard it or not:";

const BEGUN: &str = "This was begun before, and the workspace is as it was left. Look at it first. \
     What is known of the conversation so far:";

impl Inner {
    /// A turn of an agent that converses.
    pub(super) async fn converse(&self, setting: Setting<'_>, link: &mut Link) -> Done<Turn> {
        let resume = link.resume.take();
        if let Some(resume) = resume.as_ref().filter(|it| it.runtime != setting.work.runtime) {
            let was = resume.runtime.as_str();
            return Err(Halt::error(format!("the conversation is one with `{was}`")));
        }
        match setting.work.runtime {
            AgentRuntime::Opencode => self.opencode(setting, link, resume).await,
            AgentRuntime::Acp => {
                let opencode = self.config.opencode.as_ref();
                let installed = (opencode, self.config.agents.as_path());
                let opening = Acp::open(setting, &self.programs, installed, resume.as_ref());
                let session = setting.limits.hold(opening).await?;
                let going = Going { resume, number: 1, unheard: Vec::new() };
                accompany(setting, link, session, going).await.0
            }
            AgentRuntime::Command | AgentRuntime::Scripted | AgentRuntime::Usual => {
                Err(Halt::failed(ErrorClass::NoAgent, "this runtime does not converse"))
            }
        }
    }

    /// A server that dies is started again: what it knew lies in the attempt's directory.
    async fn opencode(
        &self,
        setting: Setting<'_>,
        link: &mut Link,
        mut resume: Option<Resume>,
    ) -> Done<Turn> {
        let Some(installed) = &self.config.opencode else {
            return Err(Halt::failed(
                ErrorClass::NoAgent,
                "opencode is not installed here: set OPENCODE_BIN, or run `make setup-agents`",
            ));
        };
        let (mut number, mut unheard) = (1, Vec::new());
        loop {
            let origin = match &resume {
                Some(resume) if number > 1 => Origin::Here(&resume.conversation),
                Some(resume) => Origin::Kept(resume),
                None => Origin::None,
            };
            let governed = link.governed.clone();
            let opening = Opencode::open((setting, governed), &self.programs, installed, origin);
            let session = setting.limits.hold(opening).await?;
            let going = Going { resume, number, unheard: std::mem::take(&mut unheard) };
            let (taken, left) = accompany(setting, link, session, going).await;
            let Err(Halt::Failed(failure)) = &taken else { return taken };
            if failure.class != ErrorClass::Crash || number == STARTS_MAX {
                return taken;
            }
            setting.log.note("it is started again");
            number += 1;
            resume = Some(left.resume);
            unheard = left.unheard;
        }
    }

    /// The workspace as a checkpoint has it: the files of the snapshot over the base.
    pub(super) async fn restore(
        &self,
        attempt: &Attempt,
        snapshot: &Snapshot,
        directory: &Directory,
        (limits, log): (&Limits, &LogWriter),
    ) -> Done<Option<Checkout>> {
        let Some(repository) = self.begin_workspace(attempt, directory)? else { return Ok(None) };
        let path = directory.workspace();
        let restoring = async {
            repository.obtain(&snapshot.base).await?;
            repository.obtain(&snapshot.commit).await?;
            repository.clone_to(&path, &snapshot.commit).await?;
            // Ours alone so far: no agent has written into this clone yet.
            let reset = Git::isolated("reset").dir(&path.join(".git")).work_tree(&path);
            reset.args(["--quiet", "--mixed", &snapshot.base]).bytes().await?;
            Ok(())
        };
        limits.hold(restoring).await?;
        let (name, commit) = (repository.name(), &snapshot.commit[..12]);
        log.note(&format!("workspace: {name} as it was at the checkpoint {commit}"));
        Ok(Some(Checkout { repository, commit: snapshot.base.clone() }))
    }
}

/// Where another agent could go on, and what the last one may not have heard.
struct Left {
    resume: Resume,
    unheard: Vec<String>,
}

/// Where an agent begins.
struct Going {
    resume: Option<Resume>,
    /// Counts the agents of the attempt.
    number: u32,
    /// What people said that the one before may not have heard.
    unheard: Vec<String>,
}

/// Stays with an agent through its turn, and sees to it that nothing of it is left but what it did.
/// Tells, too, where another one could go on.
async fn accompany<S: AgentSession>(
    setting: Setting<'_>,
    link: &mut Link,
    mut session: S,
    Going { resume, number, unheard }: Going,
) -> (Done<Turn>, Left) {
    let is_interrupted = resume.as_ref().is_some_and(|it| it.is_interrupted);
    let snapshots = Snapshots {
        setting,
        last: resume.as_ref().filter(|_| is_interrupted).and_then(|it| it.workspace.clone()),
    };
    let spent = resume.map_or_else(Spend::default, |it| it.spend);
    let mut text = match session.recollection() {
        Recollection::Everything if is_interrupted && spent.steps > 0 => INTERRUPTED.to_owned(),
        Recollection::Everything => asked(setting),
        Recollection::Told(before) => format!("{}\n\n{BEGUN}\n{before}", asked(setting)),
    };
    if !unheard.is_empty() {
        text = format!("{text}\n\n{MEANWHILE}\n{}", unheard.join("\n"));
    }
    let untold = std::mem::take(&mut link.untold);
    if !untold.is_empty() {
        text = format!("{text}\n\n{ANSWERED}\n{}", untold.join("\n"));
    }
    let key = format!("{}/{number}", setting.attempt.fence);
    let prompt = Prompt { key, at_ms: now_ms(), text };
    let mut left = Resume {
        checkpoint: 0,
        runtime: setting.work.runtime,
        conversation: session.id().to_owned(),
        history: Vec::new(),
        workspace: None,
        spend: spent,
        is_interrupted: true,
    };
    link.begins_at(spent);
    let mut supervisor = Supervisor::new((setting, snapshots), link, spent);
    let taken = supervisor.turn(&mut session, &prompt).await;
    left.spend = supervisor.spend;
    let (mut snapshots, history, unheard) = supervisor.into_rest();
    session.end().await;
    if taken.is_err()
        && link.keeps()
        && let Ok(Ok(workspace)) = timeout(SALVAGE, snapshots.take()).await
    {
        left.workspace.clone_from(&workspace);
        let kept = NewCheckpoint {
            cause: Cause::Stop,
            runtime: left.runtime,
            conversation: left.conversation.clone(),
            history,
            workspace,
            spend: left.spend,
        };
        link.keep(kept).await;
    }
    link.ends_at(left.spend);
    let taken = taken.map(|turn| Turn { usage: Some(json!(left.spend)), ..turn });
    (taken, Left { resume: left, unheard })
}

/// The task's prompt, and what it has to put out.
fn asked(setting: Setting<'_>) -> String {
    let prompt = &setting.work.prompt;
    match &setting.attempt.schema {
        None => prompt.clone(),
        Some(schema) => format!(
            "{prompt}\n\nWhen you are done, write your result as one JSON object into the file \
             {}. It has to match this JSON Schema:\n{schema}",
            setting.directory.output().display()
        ),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "agents order messages by the time of the machine they run on; nothing of ours does"
)]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The states of a workspace as commits, each reachable from the next.
#[derive(Debug)]
pub(super) struct Snapshots<'a> {
    setting: Setting<'a>,
    last: Option<Snapshot>,
}

impl Snapshots<'_> {
    /// The workspace as it is, published; `None` where it is no clone.
    pub(super) async fn take(&mut self) -> Done<Option<Snapshot>> {
        let Setting { checkout, directory, attempt, log, .. } = self.setting;
        let Some(Checkout { repository, commit: base }) = checkout else { return Ok(None) };
        let paths = (directory.scratch(), directory.workspace());
        let message =
            format!("{} (checkpoint)\n\nJobshop-Task: {}\n", attempt.task, attempt.fence.task);
        let last = self.last.as_ref().map(|it| it.commit.as_str());
        let places = (paths.0.as_path(), paths.1.as_path());
        let commit = capture::checkpoint(repository, places, (base, last), &message, log).await?;
        if last != Some(commit.as_str()) {
            capture::publish_checkpoint(repository, &attempt.fence, &commit).await?;
        }
        self.last = Some(Snapshot { commit, base: base.clone() });
        Ok(self.last.clone())
    }
}
