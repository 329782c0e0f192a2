//! `agent` tasks: a turn of a coding agent in its workspace, and its edits captured as a commit.
//! The runtimes differ in who does the work; what becomes of it is the same.

use std::time::Duration;

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{AgentWork, Attempt},
    outcome::{ErrorClass, Outcome},
    plan::AgentRuntime,
};
use serde_json::{Value, json};

use super::{
    Inner, capture,
    command::{Limits, Program},
    directory::Directory,
    ending::Ending,
    environment::{Environment, look_up},
    halt::{Done, Halt},
    link::Link,
    log::LogWriter,
    output::{self, Outputs},
    outside,
    run::Checkout,
    runtimes::refusal,
};

/// How long the edits of a failed turn may take to be captured, whatever its timeout.
const SALVAGE: Duration = Duration::from_secs(30);

/// By this exit code (`EX_TEMPFAIL`) a program says that the provider of its model refuses it.
const REFUSED: i32 = 75;
/// And by this output, for how long.
const RETRY_AFTER: &str = "retry_after";

/// The outputs of a workspace that is no clone.
const NOTHING_CAPTURED: [(&str, Value); 3] =
    [("commit", Value::Null), ("base", Value::Null), ("diff_stat", Value::Null)];

/// What the agent itself says of its turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) summary: Option<String>,
    pub(super) usage: Option<Value>,
}

/// A turn about to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) work: &'a AgentWork,
    pub(super) attempt: &'a Attempt,
    pub(super) directory: &'a Directory,
    /// The clone that the workspace is, if it is one.
    pub(super) checkout: Option<&'a Checkout>,
    pub(super) env: &'a Environment,
    pub(super) limits: &'a Limits,
    pub(super) log: &'a LogWriter,
}

impl Inner {
    pub(super) async fn agent(
        &self,
        work: &AgentWork,
        attempt: &Attempt,
        directory: &Directory,
        limits: &Limits,
        (log, link): (&LogWriter, &mut Link),
    ) -> Done<Outcome> {
        let checkout = match link.interrupted() {
            Some(snapshot) => self.restore(attempt, snapshot, directory, (limits, log)).await?,
            None => self.prepare(attempt, directory, limits, log).await?,
        };
        let mut env = self.environment(attempt, directory)?;
        self.set_up(attempt, directory, &env, (limits, log)).await?;
        let prompt = directory.write("prompt", &work.prompt).context("writing the prompt")?;
        env.push(("JOBSHOP_PROMPT_FILE".to_owned(), prompt.display().to_string()));
        if let Some(model) = &work.model {
            env.push(("JOBSHOP_MODEL".to_owned(), model.clone()));
        }
        let checkout = checkout.as_ref();
        let setting = Setting { work, attempt, directory, checkout, env: &env, limits, log };
        let mut ending = Ending::new(attempt.is_failure_allowed);
        let taken = match work.runtime {
            AgentRuntime::Command | AgentRuntime::Usual => {
                self.command_turn(setting).await.map(|it| (it, Outputs::new()))
            }
            AgentRuntime::Scripted => self.scripted_turn(setting, link).await,
            AgentRuntime::Opencode | AgentRuntime::Acp => {
                self.converse(setting, link).await.map(|it| (it, Outputs::new()))
            }
        };
        let (turn, outputs) = ending.take(taken)?.unwrap_or_default();
        let written = self.written(attempt, directory, outputs);
        let mut outputs = ending.take(written)?.unwrap_or_default();
        for (name, value) in [("summary", turn.summary.map(Value::from)), ("usage", turn.usage)] {
            outputs.entry(name).or_insert(value.unwrap_or(Value::Null));
        }
        let captured = match checkout {
            Some(checkout) => {
                let limits = if ending.has_failed() { &limits.extended(SALVAGE) } else { limits };
                ending.take(limits.hold(captured(checkout, setting)).await)?
            }
            None => None,
        };
        let captured = captured.unwrap_or_else(|| NOTHING_CAPTURED.to_vec());
        outputs.extend(captured.into_iter().map(|(name, value)| (name.to_owned(), value)));
        ending.outcome(outputs, self.config.output_bytes_max)
    }

    /// Any program: the prompt on its standard input and in a file; what it prints last is its
    /// summary, unless it writes one.
    async fn command_turn(&self, setting: Setting<'_>) -> Done<Turn> {
        let Setting { work, directory, env, limits, log, .. } = setting;
        let argv = match (&work.command, look_up(env, "JOBSHOP_AGENT_COMMAND")) {
            (Some(argv), _) => argv.clone(),
            (None, Some(text)) => split_command(text).map_err(Halt::error)?,
            (None, None) => self.config.agent_command.clone().unwrap_or_default(),
        };
        if argv.is_empty() {
            return Err(Halt::failed(
                ErrorClass::NoAgent,
                "no coding agent to start: install opencode, give the task a `command`, or set JOBSHOP_AGENT_COMMAND",
            ));
        }
        let workspace = directory.workspace();
        let stdin = Some(work.prompt.as_str());
        let program = Program { argv: &argv, dir: &workspace, env, stdin };
        let exit = self.programs.execute(&program, limits, log).await?;
        match exit.check() {
            Err(Halt::Failed(failure)) if exit.code() == Some(REFUSED) => {
                // How long is said as an output; what is no output says nothing.
                let said = output::read(&directory.output(), self.config.output_bytes_max);
                let wait = said.ok().and_then(|it| refusal::time(it.get(RETRY_AFTER)?));
                return Err(Halt::Refused { wait, why: failure.message });
            }
            checked => checked?,
        }
        let summary = exit.stdout.trim();
        let summary = (!summary.is_empty()).then(|| summary.to_owned());
        Ok(Turn { summary, usage: None })
    }
}

/// Commits what the turn left, publishes it, and says so in outputs.
async fn captured(checkout: &Checkout, setting: Setting<'_>) -> Done<Vec<(&'static str, Value)>> {
    let Setting { attempt, directory, log, .. } = setting;
    let Checkout { repository, commit: base } = checkout;
    let (git_dir, work_tree) = (directory.scratch(), directory.workspace());
    let message = format!("{}\n\nJobshop-Task: {}\n", attempt.task, attempt.fence.task);
    let captured =
        capture::capture(repository, (&git_dir, &work_tree), base, &message, log).await?;
    capture::publish(repository, &attempt.fence, &captured.commit).await?;
    let paths = &attempt.expected.paths;
    let finding = outside::finding(repository, (base, &captured.commit), paths).await?;
    let mut outputs = vec![
        ("commit", captured.commit.into()),
        ("base", base.clone().into()),
        ("diff_stat", json!(captured.diff_stat)),
    ];
    outputs.extend(finding.map(|finding| ("findings", json!([finding]))));
    Ok(outputs)
}

/// Splits the command line of an agent as a shell would, without expanding anything: spaces
/// separate, quotes and backslashes keep together. A JSON array is taken as it is.
pub fn split_command(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|error| format!("`{text}` is not a JSON array of strings: {error}"));
    }
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("`{text}` has a quote without its partner"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would() {
        for (text, words) in [
            ("", vec![]),
            ("  claude  -p ", vec!["claude", "-p"]),
            ("a 'b c' \"d \\\" e\" f\\ g ''", vec!["a", "b c", "d \" e", "f g", ""]),
            ("[\"a b\", \"$C\"]", vec!["a b", "$C"]),
            ("it's 'x y'", vec![]),
        ] {
            match split_command(text) {
                Ok(found) => assert_eq!(found, words, "{text}"),
                Err(_) => assert_eq!(text, "it's 'x y'"),
            }
        }
    }
}
