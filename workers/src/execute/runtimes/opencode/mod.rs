//! The coding agent opencode, through a server of its own for each attempt: HTTP for what is said to
//! it, its event stream for what it does. Everything it writes down lies in the attempt's directory;
//! a conversation travels as the list of its events, which any other server can replay.

mod events;
mod history;
mod server;
mod setup;

use std::{collections::VecDeque, time::Duration};

use jobshop_engine::{
    attempt::AgentWork,
    checkpoint::Resume,
    outcome::ErrorClass,
    plan::{Permission, PermissionAction},
    policy::{self, QUESTION},
    question::{Kind, NewQuestion, Reply},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use self::{
    events::Reader,
    history::History,
    server::{Heard, Server},
};
use super::{AgentEvent, AgentSession, Prompt, Recollection, ids};
use crate::execute::{
    agent::Setting,
    command::Programs,
    halt::{Done, Halt},
    still::Still,
};

pub use self::setup::Installed;
pub(super) use self::setup::private_environment;

/// After so long without an event the server is asked whether there is one to come.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// What a turn may need to be over once its end was announced.
const SETTLE: Duration = Duration::from_millis(300);
const SAID_AGAIN_MAX: u32 = 3;
const END_GRACE: Duration = Duration::from_millis(500);

/// A conversation with an opencode server of this attempt.
#[derive(Debug)]
pub(in crate::execute) struct Opencode<'a> {
    setting: Setting<'a>,
    /// What it does with these tools it asks us about first.
    governed: Vec<String>,
    server: Server,
    id: String,
    /// There was a conversation, and nothing of it was kept.
    has_lost: bool,
    /// What its events mean, and what was understood already.
    reader: Reader,
    history: History,
    /// The last prompt as it was sent: the last answer has to belong to it.
    last_prompt: Option<Value>,
    /// How often it was said again, because nothing came of it.
    said_again: u32,
    /// When to ask how things stand, if nothing is heard before.
    look_at: Instant,
    /// Events that are understood and not told yet.
    told: VecDeque<AgentEvent>,
}

/// Where a conversation comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::execute) enum Origin<'r> {
    None,
    /// It was kept with a checkpoint.
    Kept(&'r Resume),
    /// An earlier server of this attempt had it, under this name.
    Here(&'r str),
}

impl<'a> Opencode<'a> {
    /// Starts a server, and a conversation in it: a new one, or the one that goes on.
    pub(in crate::execute) async fn open(
        (setting, governed): (Setting<'a>, Vec<String>),
        programs: &Programs,
        installed: &Installed,
        origin: Origin<'_>,
    ) -> Done<Self> {
        let mut server = Server::start(setting, programs, installed).await?;
        let mut history = History::default();
        let mut has_lost = false;
        let id = match origin {
            Origin::Here(id) => {
                history.take_in(&mut server).await?;
                id.to_owned()
            }
            Origin::Kept(resume) if !resume.history.is_empty() => {
                history.replay(&mut server, resume).await?;
                resume.conversation.clone()
            }
            Origin::Kept(_) => {
                has_lost = true;
                create(&mut server, setting, &governed).await?
            }
            Origin::None => create(&mut server, setting, &governed).await?,
        };
        let mut reader = Reader::new(id.clone());
        reader.skip(history.known());
        let (told, look_at) = (VecDeque::new(), Instant::now() + LOOK_AFTER);
        Ok(Self {
            setting,
            governed,
            server,
            id,
            has_lost,
            reader,
            history,
            last_prompt: None,
            said_again: 0,
            look_at,
            told,
        })
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let at_ms = prompt.at_ms.max(self.history.last_ms() + 1);
        let mut body = json!({
            "messageID": ids::ascending("msg", at_ms, &prompt.key),
            "parts": [{
                "id": ids::ascending("prt", at_ms, &prompt.key),
                "type": "text",
                "text": prompt.text,
            }],
        });
        if let Some((provider, model)) = model(self.setting.work) {
            body["model"] = json!({ "providerID": provider, "modelID": model });
        }
        body
    }

    /// Asks the server how things stand: events may have been lost, or never come.
    async fn look(&mut self) -> Done<()> {
        let missed = self.history.missed(&mut self.server).await?;
        for event in missed {
            self.told.extend(self.reader.read(&event));
        }
        for ask in self.server.get("/permission").await?.as_array().into_iter().flatten() {
            self.told.extend(self.reader.ask(ask));
        }
        for ask in self.server.get("/question").await?.as_array().into_iter().flatten() {
            self.told.extend(self.reader.question(ask));
        }
        if self.told.is_empty() && !self.is_busy().await? {
            self.finish().await?;
        }
        Ok(())
    }

    /// What the task itself says of what is asked. What it allows, and we are asked about nevertheless,
    /// is for the rules to say, or else for people.
    fn judged(&self, mut question: NewQuestion) -> NewQuestion {
        let NewQuestion { tool, what, .. } = &question;
        let own = policy::own(&self.setting.work.permissions, tool, what);
        let is_governed = self.governed.iter().any(|it| policy::fits(it, tool));
        question.own = match own {
            PermissionAction::Allow if !is_governed || question.kind == Kind::Question => {
                PermissionAction::Ask
            }
            own @ (PermissionAction::Allow | PermissionAction::Deny | PermissionAction::Ask) => own,
        };
        question
    }

    async fn is_busy(&mut self) -> Done<bool> {
        let status = self.server.get("/session/status").await?;
        Ok(status.get(&self.id).is_some())
    }

    /// The server says that nothing runs. Whether the turn is over shows in the last answer.
    async fn finish(&mut self) -> Done<()> {
        let Some(body) = self.last_prompt.clone() else { return Ok(()) };
        let listed = self.server.get(&format!("/session/{}/message", self.id)).await?;
        let asked = body["messageID"].as_str().unwrap_or_default();
        match Reader::ending(&listed, asked) {
            Some(event) => self.told.push_back(event),
            None => match self.reader.take_error() {
                Some(event) => self.told.push_back(event),
                // The prompt came while the server was about to rest.
                None if self.said_again < SAID_AGAIN_MAX => {
                    self.said_again += 1;
                    let path = format!("/session/{}/prompt_async", self.id);
                    self.server.post(&path, &body).await?;
                }
                None => return Err(Halt::error("opencode rests and gave no answer")),
            },
        }
        Ok(())
    }
}

impl AgentSession for Opencode<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    async fn prompt(&mut self, prompt: &Prompt) -> Done<()> {
        let body = self.body(prompt);
        self.server.post(&format!("/session/{}/prompt_async", self.id), &body).await?;
        self.last_prompt = Some(body);
        self.said_again = 0;
        Ok(())
    }

    fn recollection(&self) -> Recollection {
        if self.has_lost { Recollection::Told(String::new()) } else { Recollection::Everything }
    }

    fn hears_while_busy(&self) -> bool {
        true
    }

    async fn next(&mut self) -> Done<AgentEvent> {
        loop {
            match self.told.pop_front() {
                Some(AgentEvent::Ask { id, question }) => {
                    let question = self.judged(question);
                    return Ok(AgentEvent::Ask { id, question });
                }
                Some(event) => return Ok(event),
                None => {}
            }
            if self.reader.is_idle() {
                // What the last step wrote may be a moment behind.
                sleep(SETTLE).await;
                if !self.is_busy().await? {
                    self.finish().await?;
                }
                self.reader.is_idle_no_more();
                continue;
            }
            // Whatever is dropped half-way is done again: a look finds nothing twice.
            match timeout_at(self.look_at, self.server.next()).await {
                Ok(Ok(Heard::Event(event))) => {
                    self.told.extend(self.reader.read(&event));
                    if !self.told.is_empty() {
                        self.look_at = Instant::now() + LOOK_AFTER;
                    }
                }
                Ok(Ok(Heard::Reconnected)) => self.look_at = Instant::now(),
                Ok(Err(halt)) => return Err(halt),
                Err(_) => {
                    self.look().await?;
                    self.look_at = Instant::now() + LOOK_AFTER;
                }
            }
        }
    }

    async fn hold_still(&self) -> Done<Still> {
        self.server.hold_still().await
    }

    async fn reply(&mut self, ask: &str, reply: &Reply) -> Done<()> {
        let (path, body) = match (reply, self.reader.is_question(ask)) {
            (Reply::Say(answers), _) => {
                let answers: Vec<[&String; 1]> = answers.iter().map(|it| [it]).collect();
                (format!("/question/{ask}/reply"), json!({ "answers": answers }))
            }
            (_, true) => (format!("/question/{ask}/reject"), json!({})),
            (Reply::Allow, _) => (format!("/permission/{ask}/reply"), json!({ "reply": "once" })),
            (Reply::Deny { why }, _) => {
                (format!("/permission/{ask}/reply"), json!({ "reply": "reject", "message": why }))
            }
        };
        self.server.post(&path, &body).await.map(drop)
    }

    async fn cancel(&mut self) -> Done<()> {
        self.server.post(&format!("/session/{}/abort", self.id), &json!({})).await.map(drop)
    }

    async fn history(&mut self) -> Done<Option<Vec<u8>>> {
        self.history.take(&mut self.server, self.setting).await
    }

    async fn end(self) {
        self.server.end(END_GRACE, self.setting.log).await;
    }
}

/// A new conversation with the task's permissions.
async fn create(server: &mut Server, setting: Setting<'_>, governed: &[String]) -> Done<String> {
    let beside = setting.directory.output().with_file_name("*").display().to_string();
    let rules = rules(&setting.work.permissions, governed, &beside);
    let mut body = json!({ "title": setting.attempt.task, "permission": rules });
    if let Some((provider, model)) = model(setting.work) {
        body["model"] = json!({ "providerID": provider, "id": model });
    }
    let created = server.post("/session", &body).await?;
    let id = created.get("id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| Halt::error("opencode made a session without an id"))
}

/// `provider/model`, the model's own name with slashes or not.
fn model(work: &AgentWork) -> Option<(&str, &str)> {
    work.model.as_deref()?.split_once('/')
}

/// The rules as opencode takes them: ours for everybody, then the task's, the last match deciding.
/// What lies beside the workspace is for it: the file of its outputs. Of tools that rules of the tenant
/// speak of it asks us, unless the task forbids them itself; a question that may be asked is.
fn rules(permissions: &[Permission], governed: &[String], beside: &str) -> Value {
    use PermissionAction::{Allow, Ask, Deny};
    let is_governed =
        |tool: &str| governed.iter().any(|it| policy::fits(it, tool) || policy::fits(tool, it));
    let mut rules = vec![("*", "*", Allow)];
    rules.extend(governed.iter().map(|tool| (tool.as_str(), "*", Ask)));
    rules.push(("external_directory", "*", Deny));
    rules.push(("external_directory", beside, Allow));
    rules.push((QUESTION, "*", Deny));
    for Permission { tool, pattern, action } in permissions {
        let action = match action {
            Ask if tool == QUESTION => Allow,
            Allow if tool != QUESTION && is_governed(tool) => Ask,
            Allow | Deny | Ask => *action,
        };
        rules.push((tool, pattern, action));
    }
    let rules = rules.into_iter().map(|(tool, pattern, action)| {
        json!({ "permission": tool, "pattern": pattern, "action": action.as_str() })
    });
    rules.collect()
}

/// What a refusal of the model's provider means for the task.
fn class_of(status: Option<u64>, name: &str, is_retryable: bool) -> ErrorClass {
    match (status, name) {
        (_, "ContextOverflowError") => ErrorClass::TooLarge,
        (_, "ProviderAuthError") => ErrorClass::Rejected,
        (Some(400..=407 | 409..=428), _) if !is_retryable => ErrorClass::Rejected,
        _ => ErrorClass::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_refuses_for_good_is_not_tried_again() {
        for (status, name, is_retryable, class) in [
            (Some(401), "APIError", false, ErrorClass::Rejected),
            (Some(400), "APIError", false, ErrorClass::Rejected),
            (Some(429), "APIError", true, ErrorClass::Error),
            (Some(500), "APIError", true, ErrorClass::Error),
            (None, "ProviderAuthError", false, ErrorClass::Rejected),
            (None, "ContextOverflowError", false, ErrorClass::TooLarge),
            (None, "UnknownError", false, ErrorClass::Error),
        ] {
            assert_eq!(class_of(status, name, is_retryable), class, "{status:?} {name}");
        }
    }

    #[test]
    fn the_tasks_rules_come_after_the_general_ones() {
        let own = Permission {
            tool: "bash".to_owned(),
            pattern: "git push *".to_owned(),
            action: PermissionAction::Deny,
        };
        let rules = rules(&[own], &[], "/x/*");
        let last = json!({ "permission": "bash", "pattern": "git push *", "action": "deny" });
        assert_eq!(rules.as_array().unwrap().last(), Some(&last));
        assert_eq!(rules[0], json!({ "permission": "*", "pattern": "*", "action": "allow" }));
    }

    #[test]
    fn tools_that_rules_speak_of_are_asked_about_and_a_forbidden_one_is_forbidden() {
        let own = |tool: &str, action| Permission {
            tool: tool.to_owned(),
            pattern: "*".to_owned(),
            action,
        };
        let own = [
            own("bash", PermissionAction::Allow),
            own("edit", PermissionAction::Deny),
            own("question", PermissionAction::Ask),
        ];
        let governed = ["bash".to_owned(), "edit".to_owned()];
        let rules = rules(&own, &governed, "/x/*");
        let last = |tool: &str| {
            let of_tool = rules.as_array().unwrap().iter().rfind(|it| it["permission"] == tool);
            of_tool.unwrap()["action"].clone()
        };
        assert_eq!((last("bash"), last("edit")), (json!("ask"), json!("deny")));
        assert_eq!(
            (last("question"), last("external_directory")),
            (json!("allow"), json!("allow"))
        );
    }
}
