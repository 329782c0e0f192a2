//! The supervisor of a conversation: it owns what an agent cannot be trusted with. It counts what
//! the agent takes, stops it at its limits and on orders from outside, passes on what it asks,
//! hands it what people say, and makes checkpoints. It does not know any agent's protocol.

use std::{collections::HashMap, time::Duration};

use jobshop_engine::{
    checkpoint::{Cause, NewCheckpoint, Snapshot, Spend},
    duration::Span,
    outcome::ErrorClass,
    plan::AgentRuntime,
    question::{NewQuestion, Reply},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    AgentEvent, AgentSession, Prompt,
    bounds::{Bounds, Seen},
    transcript::Transcript,
};
use crate::execute::{
    agent::{Setting, Turn},
    converse::Snapshots,
    halt::{Done, Halt},
    link::{Heard, Link, Message, Told, Word},
};

const TICK: Duration = Duration::from_millis(250);
/// What an agent gets to stop by itself, before its processes are killed.
const SOFT_STOP: Duration = Duration::from_secs(2);
/// What is waited for the last of a conversation.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Checkpoints after steps take at most this share of the time, so that a large tree or a slow
/// repository does not hold an agent up.
const CHECKPOINT_SHARE: u32 = 10;
/// An agent whose provider refuses for longer than this does not wait in its place.
const PATIENCE: Span = Span::from_secs(10);

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
    /// What people said since the last checkpoint, and who: it may be lost with the agent.
    said: Vec<String>,
    /// What the agent waits for people to answer, by what others call it.
    asked: HashMap<String, String>,
}

/// What to do after an event.
enum Then {
    GoOn,
    Checkpoint,
    Ask { id: String, question: NewQuestion },
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
            bounds: Bounds::of(&setting.work.limits, setting.attempt.heartbeat)
                .within(&spent, link.left()),
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
            said: Vec::new(),
            asked: HashMap::new(),
        }
    }

    /// What a last checkpoint needs, once the agent is gone, and what it may not have heard.
    pub(in crate::execute) fn into_rest(self) -> (Snapshots<'a>, Option<Vec<u8>>, Vec<String>) {
        (self.snapshots, self.rest, self.said)
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
            Halt::Refused { why, .. } => why.as_str(),
            Halt::Parked => "it waits for people, and goes on once they have answered",
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
                Next::Word(Word::Message(message)) => {
                    let Message { from, prompt } = &message;
                    self.transcript.prompt(from, &prompt.text);
                    self.said.push(format!("{from}: {}", prompt.text));
                    if session.hears_while_busy() {
                        session.prompt(&message.prompt).await?;
                    } else {
                        waiting.push(message.prompt);
                    }
                    continue;
                }
                Next::Word(Word::Answer(Told { request, reply })) => {
                    if let Some(id) = self.asked.remove(&request) {
                        self.reply(session, &id, &reply).await?;
                    }
                    continue;
                }
            };
            match self.see(event)? {
                Then::GoOn => {}
                Then::Checkpoint => self.after_step(session).await?,
                Then::Ask { id, question } => {
                    let request = self.link.request(&id);
                    match self.link.ask(request.clone(), question).await {
                        Some(reply) => self.reply(session, &id, &reply).await?,
                        None => drop(self.asked.insert(request, id)),
                    }
                }
                Then::End(turn) if waiting.is_empty() => return Ok(turn),
                Then::End(_) => session.prompt(&waiting.remove(0)).await?,
            }
        }
    }

    async fn reply<S: AgentSession>(
        &mut self,
        session: &mut S,
        id: &str,
        reply: &Reply,
    ) -> Done<()> {
        self.transcript.answer(id, &reply.in_words());
        self.heard = Instant::now();
        session.reply(id, reply).await
    }

    /// The next thing that happens, or an order to stop.
    async fn next<S: AgentSession>(&mut self, session: &mut S) -> Done<Next> {
        let limits = self.setting.limits;
        let silent_at = self.heard + self.bounds.idle.to_std();
        // Who waits for people is not silent, and not late.
        let (waits, parks_at) = (!self.asked.is_empty(), self.heard + self.link.hold);
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
                () = limits.passed() => {
                    return Err(if waits { Halt::Parked } else { limits.timed_out() });
                }
                () = sleep_until(parks_at), if waits => return Err(Halt::Parked),
                () = sleep_until(silent_at), if !waits => {
                    let why = format!("nothing was heard of the agent for {}", self.bounds.idle);
                    return Err(Halt::failed(ErrorClass::Timeout, format!("{why} (`idle`)")));
                }
                word = self.link.word() => return Ok(Next::Word(word)),
                () = sleep_until(self.next_checkpoint), if self.owes_checkpoint => {
                    return Ok(Next::Checkpoint);
                }
                event = &mut event => return event.map(Next::Event),
                () = sleep(TICK) => self.transcript.flush_due(),
            }
        }
    }

    /// Counts and tells; fails at a limit.
    fn see(&mut self, mut event: AgentEvent) -> Done<Then> {
        self.heard = Instant::now();
        if let AgentEvent::Step { spend } = &mut event {
            spend.steps = 1;
            self.seen.steps += 1;
            self.spend.add(spend);
            *spend = self.spend;
        }
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
            AgentEvent::Throttled { why, wait } => {
                self.link.hear(Heard::Refused(wait));
                if wait.is_some_and(|wait| wait > PATIENCE) {
                    return Err(Halt::Refused { wait, why });
                }
                Then::GoOn
            }
            AgentEvent::Refused { why, wait } => return Err(Halt::Refused { wait, why }),
            AgentEvent::Step { .. } => {
                self.link.hear(Heard::Answered);
                Then::Checkpoint
            }
            AgentEvent::Ask { id, question } => Then::Ask { id, question },
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
            let still = session.hold_still().await?;
            let workspace = self.snapshots.take().await?;
            drop(still);
            let history = session.history().await?;
            Ok((history, workspace))
        };
        let limits = self.setting.limits;
        match limits.hold(made).await {
            Ok(made) => {
                let checkpoint = self.describe(session.id(), cause, made);
                let mut kept = self.link.keep(checkpoint).await;
                self.said.clear();
                if cause == Cause::Turn {
                    // Another turn begins with what is kept of this one.
                    let kept = async { Ok(kept.wait_for(|is_kept| *is_kept).await.is_ok()) };
                    let _ = limits.hold(kept).await;
                }
            }
            Err(Halt::Failed(failure)) => {
                self.setting.log.note(&format!("no checkpoint: {}", failure.message));
            }
            Err(Halt::Released | Halt::Refused { .. } | Halt::Parked) => {}
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
    Word(Word),
}
