//! Any agent that speaks the Agent Client Protocol: a program whose standard input and output carry
//! JSON-RPC, a message a line. What differs from agent to agent is its profile. Such an agent keeps
//! its conversation to itself, so that one which goes on elsewhere is told of it instead.

mod policy;
mod profile;
mod updates;
mod wire;

use std::{collections::VecDeque, path::Path, time::Duration};

use jobshop_engine::{checkpoint::Resume, outcome::ErrorClass, question::Reply};
use serde_json::{Value, json};

use self::{
    profile::Profile,
    updates::Updates,
    wire::{Heard, Wire},
};
use super::{AgentEvent, AgentSession, Prompt, Recollection};
use crate::execute::{
    agent::Setting,
    command::Programs,
    halt::{Done, Halt},
    runtimes::opencode::Installed,
    still::Still,
};

const VERSION: u64 = 1;
const END_GRACE: Duration = Duration::from_millis(500);
/// How much of a lost conversation is told.
const TOLD_BYTES_MAX: usize = 16 * 1024;

/// A conversation with an agent of this attempt.
#[derive(Debug)]
pub(in crate::execute) struct Acp<'a> {
    setting: Setting<'a>,
    wire: Wire,
    id: String,
    updates: Updates,
    /// The request that the running turn is.
    turn: Option<u64>,
    told: VecDeque<AgentEvent>,
    /// What an earlier conversation said, as far as it is known.
    before: Option<String>,
}

impl<'a> Acp<'a> {
    /// Starts the agent, and a new conversation with it.
    pub(in crate::execute) async fn open(
        setting: Setting<'a>,
        programs: &Programs,
        (opencode, agents): (Option<&Installed>, &Path),
        resume: Option<&Resume>,
    ) -> Done<Self> {
        let profile = Profile::of(setting.work, opencode, agents)?;
        let mut wire = Wire::start(setting, programs, &profile).await?;
        let capabilities = json!({ "fs": { "readTextFile": false, "writeTextFile": false } });
        let hello = json!({ "protocolVersion": VERSION, "clientCapabilities": capabilities });
        let welcome = wire.call("initialize", &hello).await?;
        if welcome["protocolVersion"].as_u64() != Some(VERSION) {
            let version = &welcome["protocolVersion"];
            return Err(Halt::error(format!("the agent speaks version {version} of its protocol")));
        }
        if let Some(method) = profile.login(&welcome, setting.env) {
            wire.call("authenticate", &json!({ "methodId": method })).await?;
        }
        let cwd = setting.directory.workspace().display().to_string();
        let created = wire.call("session/new", &json!({ "cwd": cwd, "mcpServers": [] })).await?;
        let Some(id) = created["sessionId"].as_str().map(str::to_owned) else {
            return Err(Halt::error("the agent made a session without an id"));
        };
        if let Some(model) = &setting.work.model {
            let (method, wish) = profile.choice(&created, &id, model);
            wire.call(method, &wish).await?;
        }
        let before = resume.map(|resume| {
            let bytes: Vec<u8> = resume.history.concat();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text[text.ceil_char_boundary(text.len().saturating_sub(TOLD_BYTES_MAX))..].to_owned()
        });
        let updates = Updates::default();
        Ok(Self { setting, wire, id, updates, turn: None, told: VecDeque::new(), before })
    }

    async fn hear(&mut self, heard: Heard) -> Done<()> {
        match heard {
            Heard::Told { method, content } if method == "session/update" => {
                self.told.extend(self.updates.read(&content["update"]));
            }
            Heard::Told { .. } => self.told.push_back(AgentEvent::Alive),
            Heard::Asked { id, method, content } if method == "session/request_permission" => {
                let ask = policy::Ask::of(&content);
                let question = ask.question(&self.setting.work.permissions);
                let event = AgentEvent::Ask { id: id.to_string(), question };
                self.updates.asks.insert(id.to_string(), (id, ask));
                self.told.push_back(event);
            }
            Heard::Asked { id, method, .. } => self.wire.refuse(&id, &method).await?,
            Heard::Answered { id, answer } if Some(id) == self.turn => {
                self.turn = None;
                self.told.extend(self.updates.ended(answer));
            }
            Heard::Answered { .. } => {}
        }
        Ok(())
    }
}

impl AgentSession for Acp<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn recollection(&self) -> Recollection {
        match &self.before {
            None => Recollection::Everything,
            Some(told) => Recollection::Told(told.clone()),
        }
    }

    async fn prompt(&mut self, prompt: &Prompt) -> Done<()> {
        let text = json!([{ "type": "text", "text": prompt.text }]);
        let asked = json!({ "sessionId": self.id, "prompt": text });
        self.turn = Some(self.wire.ask("session/prompt", &asked).await?);
        self.updates.said("prompt", &prompt.text);
        Ok(())
    }

    fn hears_while_busy(&self) -> bool {
        false
    }

    async fn next(&mut self) -> Done<AgentEvent> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Ok(event);
            }
            let heard = self.wire.hear().await?;
            self.hear(heard).await?;
        }
    }

    async fn hold_still(&self) -> Done<Still> {
        self.wire.hold_still().await
    }

    async fn reply(&mut self, ask: &str, reply: &Reply) -> Done<()> {
        let Some((id, ask)) = self.updates.asks.remove(ask) else { return Ok(()) };
        self.wire.answer(&id, &ask.answer(*reply == Reply::Allow)).await
    }

    async fn cancel(&mut self) -> Done<()> {
        self.wire.tell("session/cancel", &json!({ "sessionId": self.id })).await?;
        while self.turn.is_some() {
            let heard = self.wire.hear().await?;
            self.hear(heard).await?;
        }
        Ok(())
    }

    async fn history(&mut self) -> Done<Option<Vec<u8>>> {
        let told = self.updates.take_told();
        Ok((!told.is_empty()).then(|| told.into_bytes()))
    }

    async fn end(self) {
        self.wire.end(END_GRACE, self.setting.log).await;
    }
}

/// The agent is gone in the middle of its work.
fn died(how: &str) -> Halt {
    Halt::failed(ErrorClass::Crash, format!("the agent died: {how}"))
}

/// What a program of the wrong kind, or a refusal, says.
fn refused(method: &str, error: &Value) -> Halt {
    Halt::error(format!("the agent refused {method}: {}", in_words(error)))
}

/// An error of the protocol, cut to what people read.
fn in_words(error: &Value) -> String {
    let said = error["message"].as_str().unwrap_or("no reason given");
    let said: String = said.chars().take(1_000).collect();
    let more: String = error["data"].to_string().chars().take(500).collect();
    if error["data"].is_null() { said } else { format!("{said} {more}") }
}
