//! The supervisor of a conversation: it owns what an agent cannot be trusted with. It counts what
//! the agent takes, stops it at its limits and on orders from outside, answers what it asks, hands
//! it what people say, and makes checkpoints. It does not know any agent's protocol.

use std::time::Duration;

use jobshop_engine::{
    checkpoint::{Cause, NewCheckpoint, Snapshot, Spend},
    duration::Span,
    outcome::ErrorClass,
    plan::{AgentLimits, AgentRuntime},
};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{AgentEvent, AgentSession, Prompt, transcript::Transcript};
use crate::execute::{
    agent::{Setting, Turn},
    converse::Snapshots,
    halt::{Done, Halt},
    link::Link,
};

const TICK: Duration = Duration::from_millis(250);
/// What an agent gets to stop by itself, before its processes are killed.
const SOFT_STOP: Duration = Duration::from_secs(2);
/// What is waited for the last of a conversation.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Checkpoints after steps take at most this share of the time, so that a large tree or a slow
/// repository does not hold an agent up.
const CHECKPOINT_SHARE: u32 = 10;

/// How much of everything a turn may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::execute) struct Bounds {
    steps: u64,
    tokens: u64,
    usd: f64,
    idle: Span,
    output_bytes: u64,
    repeated_calls: u32,
}

impl Bounds {
    /// What the task says, else the defaults.
    pub(in crate::execute) fn of(limits: &AgentLimits, heartbeat: Option<Span>) -> Self {
        Self {
            steps: limits.steps.unwrap_or(500).into(),
            tokens: limits.tokens.unwrap_or(20_000_000),
            usd: limits.usd.unwrap_or(100.0),
            idle: heartbeat.or(limits.idle).unwrap_or(Span::from_secs(15 * 60)),
            output_bytes: limits.output.map_or(64 << 20, |size| size.bytes),
            repeated_calls: limits.repeated_calls.unwrap_or(20),
        }
    }

    /// The limit that was passed, if any.
    fn passed(&self, spend: &Spend, seen: &Seen) -> Option<Halt> {
        let (class, why) = if spend.cost_usd > self.usd {
            let why = format!("it cost {:.4} USD, more than {} (`usd`)", spend.cost_usd, self.usd);
            (ErrorClass::Budget, why)
        } else if spend.tokens() > self.tokens {
            let why = format!("it took {} tokens, more than {}", spend.tokens(), self.tokens);
            (ErrorClass::Budget, format!("{why} (`tokens`)"))
        } else if seen.steps > self.steps {
            let why = format!("it took more than {} steps (`steps`)", self.steps);
            (ErrorClass::MaxRounds, why)
        } else if seen.same_calls >= self.repeated_calls {
            let why = format!(
                "it called `{}` {} times in a row with the same input (`repeated_calls`)",
                seen.last_call.0, seen.same_calls
            );
            (ErrorClass::MaxRounds, why)
        } else if seen.output_bytes > self.output_bytes {
            let why = format!("it wrote more than {} bytes (`output`)", self.output_bytes);
            (ErrorClass::TooLarge, why)
        } else {
            return None;
        };
        Some(Halt::failed(class, format!("the agent was stopped: {why}")))
    }
}

/// What was seen of the agent in this attempt.
#[derive(Debug, Default)]
struct Seen {
    steps: u64,
    output_bytes: u64,
    /// The tool and its input.
    last_call: (String, Value),
    same_calls: u32,
}

impl Seen {
    fn called(&mut self, tool: &str, input: &Value) {
        if self.last_call.0 == tool && self.last_call.1 == *input {
            self.same_calls += 1;
        } else {
            self.last_call = (tool.to_owned(), input.clone());
            self.same_calls = 1;
        }
    }
}

/// One attempt's watch over its agent.
#[derive(Debug)]
pub(in crate::execute) struct Supervisor<'a, 'l> {
    setting: Setting<'a>,
    runtime: AgentRuntime,
    bounds: Bounds,
    transcript: Transcript<'a>,
    link: &'l mut Link,
    /// What the task took, in earlier attempts of the same conversation too.
    pub(in crate::execute) spend: Spend,
    seen: Seen,
    heard: Instant,
    /// After the next step, nothing more.
    is_asked_to_stop: bool,
    /// No checkpoint after a step before then.
    next_checkpoint: Instant,
    /// A step was taken since the last one.
    owes_checkpoint: bool,
    snapshots: Snapshots<'a>,
    /// Of the conversation, what no checkpoint has yet.
    rest: Option<Vec<u8>>,
}

/// What to do after an event.
enum Then {
    GoOn,
    Checkpoint,
    Refuse { ask: String },
    End(Turn),
}

impl<'a, 'l> Supervisor<'a, 'l> {
    pub(in crate::execute) fn new(
        (setting, snapshots): (Setting<'a>, Snapshots<'a>),
        link: &'l mut Link,
        spent: Spend,
    ) -> Self {
        let now = Instant::now();
        Self {
            setting,
            runtime: setting.work.runtime,
            bounds: Bounds::of(&setting.work.limits, setting.attempt.heartbeat),
            transcript: Transcript::new(setting.log),
            link,
            spend: spent,
            seen: Seen::default(),
            heard: now,
            is_asked_to_stop: false,
            next_checkpoint: now,
            owes_checkpoint: false,
            snapshots,
            rest: None,
        }
    }

    /// What a last checkpoint needs, once the agent is gone.
    pub(in crate::execute) fn into_rest(self) -> (Snapshots<'a>, Option<Vec<u8>>) {
        (self.snapshots, self.rest)
    }

    /// Says something to the agent and stays with it until it is done with everything it was told.
    pub(in crate::execute) async fn turn<S: AgentSession>(
        &mut self,
        session: &mut S,
        prompt: &Prompt,
    ) -> Done<Turn> {
        let taken = self.watch(session, prompt).await;
        self.transcript.flush();
        let halt = match taken {
            Ok(turn) => {
                self.checkpoint(session, Cause::Turn).await;
                return Ok(turn);
            }
            Err(halt) => halt,
        };
        let why = match &halt {
            Halt::Failed(failure) => failure.message.as_str(),
            Halt::Released => "told to stop",
        };
        self.transcript.note(why);
        let _ = timeout(SOFT_STOP, session.cancel()).await;
        if self.link.keeps()
            && let Ok(Ok(rest)) = timeout(LAST_WORDS, session.history()).await
        {
            self.rest = rest;
        }
        Err(halt)
    }

    async fn watch<S: AgentSession>(&mut self, session: &mut S, prompt: &Prompt) -> Done<Turn> {
        self.transcript.prompt("workflow", &prompt.text);
        session.prompt(prompt).await?;
        self.heard = Instant::now();
        let mut waiting = Vec::new();
        loop {
            let event = match self.next(session).await? {
                Next::Event(event) => event,
                Next::Checkpoint => {
                    self.after_step(session).await?;
                    continue;
                }
                Next::Message(message) => {
                    self.transcript.prompt(&message.from, &message.prompt.text);
                    if session.hears_while_busy() {
                        session.prompt(&message.prompt).await?;
                    } else {
                        waiting.push(message.prompt);
                    }
                    continue;
                }
            };
            match self.see(event)? {
                Then::GoOn => {}
                Then::Checkpoint => self.after_step(session).await?,
                Then::Refuse { ask } => {
                    let why = "nobody is here to be asked; go on without it";
                    session.refuse(&ask, why).await?;
                }
                Then::End(turn) if waiting.is_empty() => return Ok(turn),
                Then::End(_) => session.prompt(&waiting.remove(0)).await?,
            }
        }
    }

    /// The next thing that happens, or an order to stop.
    async fn next<S: AgentSession>(&mut self, session: &mut S) -> Done<Next> {
        let limits = self.setting.limits;
        let silent_at = self.heard + self.bounds.idle.to_std();
        let event = session.next();
        tokio::pin!(event);
        loop {
            tokio::select! {
                biased;
                () = limits.stop.cancelled() => return Err(Halt::Released),
                () = limits.gently.cancelled(), if !self.is_asked_to_stop => {
                    self.is_asked_to_stop = true;
                    self.setting.log.note("told to stop: after the step that is being taken");
                }
                () = limits.passed() => return Err(limits.timed_out()),
                () = sleep_until(silent_at) => {
                    let why = format!("nothing was heard of the agent for {}", self.bounds.idle);
                    return Err(Halt::failed(ErrorClass::Timeout, format!("{why} (`idle`)")));
                }
                Some(message) = self.link.message() => return Ok(Next::Message(message)),
                () = sleep_until(self.next_checkpoint), if self.owes_checkpoint => {
                    return Ok(Next::Checkpoint);
                }
                event = &mut event => return event.map(Next::Event),
                () = sleep(TICK) => self.transcript.flush_due(),
            }
        }
    }

    /// Counts and tells; fails at a limit.
    fn see(&mut self, event: AgentEvent) -> Done<Then> {
        self.heard = Instant::now();
        let event = match event {
            AgentEvent::Step { mut spend } => {
                spend.steps = 1;
                self.seen.steps += 1;
                self.spend.add(&spend);
                AgentEvent::Step { spend: self.spend }
            }
            other => other,
        };
        self.transcript.event(&event);
        self.transcript.flush_due();
        let then = match event {
            AgentEvent::ToolStarted { tool, input, .. } => {
                self.spend.tool_calls += 1;
                self.seen.called(&tool, &input);
                Then::GoOn
            }
            AgentEvent::Wrote { bytes } => {
                self.seen.output_bytes += bytes;
                Then::GoOn
            }
            AgentEvent::Text { text, .. } => {
                self.seen.output_bytes += text.len() as u64;
                Then::GoOn
            }
            AgentEvent::ToolFinished { .. } | AgentEvent::Alive | AgentEvent::Retrying { .. } => {
                Then::GoOn
            }
            AgentEvent::Step { .. } => Then::Checkpoint,
            AgentEvent::Ask { id, .. } => Then::Refuse { ask: id },
            AgentEvent::TurnEnded { summary } => Then::End(Turn { summary, usage: None }),
            AgentEvent::Failed(failure) => return Err(Halt::Failed(failure)),
        };
        match self.bounds.passed(&self.spend, &self.seen) {
            // Whoever is done is not stopped any more.
            Some(halt) if !matches!(then, Then::End(_)) => Err(halt),
            _ => Ok(then),
        }
    }

    async fn after_step<S: AgentSession>(&mut self, session: &mut S) -> Done<()> {
        self.owes_checkpoint = true;
        let began = Instant::now();
        if began >= self.next_checkpoint || self.is_asked_to_stop {
            self.checkpoint(session, Cause::Step).await;
            self.owes_checkpoint = false;
            let took = began.elapsed();
            self.next_checkpoint = Instant::now() + took * CHECKPOINT_SHARE;
            // The agent was not heard meanwhile.
            self.heard += took;
        }
        if self.is_asked_to_stop { Err(Halt::Released) } else { Ok(()) }
    }

    /// A checkpoint that cannot be made is said and does no harm.
    async fn checkpoint<S: AgentSession>(&mut self, session: &mut S, cause: Cause) {
        if !self.link.keeps() {
            return;
        }
        let made = async {
            let workspace = self.snapshots.take().await?;
            let history = session.history().await?;
            Ok((history, workspace))
        };
        let limits = self.setting.limits;
        match limits.hold(made).await {
            Ok(made) => {
                let checkpoint = self.describe(session.id(), cause, made);
                self.link.keep(checkpoint).await;
            }
            Err(Halt::Failed(failure)) => {
                self.setting.log.note(&format!("no checkpoint: {}", failure.message));
            }
            Err(Halt::Released) => {}
        }
    }

    fn describe(
        &self,
        conversation: &str,
        cause: Cause,
        (history, workspace): (Option<Vec<u8>>, Option<Snapshot>),
    ) -> NewCheckpoint {
        NewCheckpoint {
            cause,
            runtime: self.runtime,
            conversation: conversation.to_owned(),
            history,
            workspace,
            spend: self.spend,
        }
    }
}

/// What the supervisor woke up for.
enum Next {
    Event(AgentEvent),
    /// One that had to wait may be made.
    Checkpoint,
    Message(crate::execute::link::Message),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_class_and_names_its_key() {
        let limits = AgentLimits {
            steps: Some(2),
            tokens: Some(100),
            usd: Some(0.5),
            repeated_calls: Some(3),
            output: "1KiB".parse().ok(),
            idle: None,
        };
        let bounds = Bounds::of(&limits, None);
        let fine = (Spend::default(), Seen { steps: 2, output_bytes: 1024, ..Seen::default() });
        assert_eq!(bounds.passed(&fine.0, &fine.1), None);
        let looping =
            Seen { last_call: ("bash".into(), Value::Null), same_calls: 3, ..Seen::default() };
        for (spend, seen, class, key) in [
            (
                Spend { cost_usd: 0.6, ..Spend::default() },
                Seen::default(),
                ErrorClass::Budget,
                "usd",
            ),
            (
                Spend { output_tokens: 101, ..Spend::default() },
                Seen::default(),
                ErrorClass::Budget,
                "tokens",
            ),
            (
                Spend::default(),
                Seen { steps: 3, ..Seen::default() },
                ErrorClass::MaxRounds,
                "steps",
            ),
            (Spend::default(), looping, ErrorClass::MaxRounds, "repeated_calls"),
            (
                Spend::default(),
                Seen { output_bytes: 1025, ..Seen::default() },
                ErrorClass::TooLarge,
                "output",
            ),
        ] {
            let Some(Halt::Failed(failure)) = bounds.passed(&spend, &seen) else { panic!("{key}") };
            assert_eq!(failure.class, class);
            assert!(failure.message.contains(&format!("(`{key}`)")), "{}", failure.message);
        }
    }

    #[test]
    fn only_the_same_call_with_the_same_input_counts_as_repeated() {
        let mut seen = Seen::default();
        for (tool, input, count) in
            [("a", 1, 1), ("a", 1, 2), ("b", 1, 1), ("b", 2, 1), ("b", 2, 2)]
        {
            seen.called(tool, &Value::from(input));
            assert_eq!(seen.same_calls, count);
        }
    }
}
