//! What opencode's events mean. It remembers what it has understood, because the same event may come
//! twice: live, and from the history after a lost connection.

use std::collections::{HashMap, HashSet};

use jobshop_engine::{
    checkpoint::Spend,
    duration::Span,
    outcome::{ErrorClass, Failure},
    policy::{Action, QUESTION},
    question::{Kind, NewQuestion, Text},
};
use serde_json::Value;

use super::class_of;
use crate::execute::{
    converse::now_ms,
    runtimes::{AgentEvent, refusal},
};

/// How long a message of a failure may get.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// One conversation's events as they are understood.
#[derive(Debug)]
pub(super) struct Reader {
    /// This conversation and those of the agent's own helpers.
    sessions: HashSet<String>,
    id: String,
    seen: HashSet<String>,
    /// By part: how much of its text was told, or where its tool stands.
    texts: HashMap<String, usize>,
    tools: HashMap<String, Tool>,
    asked: HashSet<String>,
    questions: HashSet<String>,
    /// Who says what: the user's words are not told again.
    users: HashSet<String>,
    is_idle: bool,
    /// What went wrong outside of any message.
    error: Option<AgentEvent>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tool {
    is_started: bool,
    is_finished: bool,
    output_bytes: usize,
}

impl Reader {
    pub(super) fn new(id: String) -> Self {
        Self {
            sessions: HashSet::from([id.clone()]),
            id,
            seen: HashSet::new(),
            texts: HashMap::new(),
            tools: HashMap::new(),
            asked: HashSet::new(),
            questions: HashSet::new(),
            users: HashSet::new(),
            is_idle: false,
            error: None,
        }
    }

    /// Takes in what happened before, and tells nothing of it.
    pub(super) fn skip<'a>(&mut self, events: impl Iterator<Item = &'a Value>) {
        for event in events {
            let _ = self.read(event);
        }
        self.is_idle = false;
        self.error = None;
    }

    /// What went wrong since the last call without being part of a message.
    pub(super) fn take_error(&mut self) -> Option<AgentEvent> {
        self.error.take()
    }

    /// Whether the server said that nothing runs any more.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// That has been looked into.
    pub(super) fn is_idle_no_more(&mut self) {
        self.is_idle = false;
    }

    /// What an event says; nothing when it was seen before or is none of ours.
    pub(super) fn read(&mut self, event: &Value) -> Vec<AgentEvent> {
        let kind = text(event, "/type");
        // Those of the history have a version behind their name, and their content under `data`.
        let kind = kind.strip_suffix(".1").unwrap_or(kind);
        let Some(content) = event.get("properties").or_else(|| event.get("data")) else {
            return Vec::new();
        };
        if kind == "session.created" {
            self.adopt(content);
        }
        let session = text(content, "/sessionID");
        if !self.sessions.contains(session) {
            return Vec::new();
        }
        let id = text(event, "/id");
        if !id.is_empty() && !self.seen.insert(id.to_owned()) {
            return Vec::new();
        }
        match kind {
            "message.updated" => {
                if text(content, "/info/role") == "user" {
                    self.users.insert(text(content, "/info/id").to_owned());
                }
                vec![AgentEvent::Alive]
            }
            "message.part.updated" => self.part(content.get("part").unwrap_or(&Value::Null)),
            "message.part.delta" => self.delta(content),
            "permission.asked" => self.ask(content).into_iter().collect(),
            "question.asked" => self.question(content).into_iter().collect(),
            "session.status" if text(content, "/status/type") == "retry" => {
                let why = cut(text(content, "/status/message"));
                vec![if refusal::is_told(&why) {
                    AgentEvent::Throttled { why, wait: wait(content) }
                } else {
                    AgentEvent::Retrying { why }
                }]
            }
            "session.idle" if session == self.id => {
                self.is_idle = true;
                Vec::new()
            }
            "session.error" if session == self.id => {
                self.is_idle = true;
                self.error = content.get("error").map(ending_in);
                Vec::new()
            }
            "session.status" | "session.idle" | "session.error" => Vec::new(),
            _ => vec![AgentEvent::Alive],
        }
    }

    /// What the agent waits for a word on; once.
    pub(super) fn ask(&mut self, ask: &Value) -> Option<AgentEvent> {
        let id = text(ask, "/id");
        let is_ours = self.sessions.contains(text(ask, "/sessionID"));
        if !is_ours || !self.asked.insert(id.to_owned()) {
            return None;
        }
        let patterns = ask.get("patterns").and_then(Value::as_array);
        let what = patterns.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let question = NewQuestion {
            kind: Kind::Permission,
            tool: text(ask, "/permission").to_owned(),
            what: what.collect(),
            texts: Vec::new(),
            own: Action::Ask,
        };
        Some(AgentEvent::Ask { id: id.to_owned(), question })
    }

    /// What the agent wants to be told; once.
    pub(super) fn question(&mut self, ask: &Value) -> Option<AgentEvent> {
        let id = text(ask, "/id");
        let is_ours = self.sessions.contains(text(ask, "/sessionID"));
        if !is_ours || !self.asked.insert(id.to_owned()) {
            return None;
        }
        self.questions.insert(id.to_owned());
        let listed = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let texts = listed(ask, "questions").into_iter().map(|it| Text {
            text: cut(text(&it, "/question")),
            options: listed(&it, "options").iter().map(|it| cut(text(it, "/label"))).collect(),
        });
        let question = NewQuestion {
            kind: Kind::Question,
            tool: QUESTION.to_owned(),
            what: Vec::new(),
            texts: texts.collect(),
            own: Action::Ask,
        };
        Some(AgentEvent::Ask { id: id.to_owned(), question })
    }

    /// Whether that is what something was that it asked, and no permission.
    pub(super) fn is_question(&self, id: &str) -> bool {
        self.questions.contains(id)
    }

    /// How the conversation stands after the prompt with this id, by its messages: `None` when the
    /// last answer does not belong to it, or was interrupted.
    pub(super) fn ending(messages: &Value, asked: &str) -> Option<AgentEvent> {
        let messages = messages.as_array()?;
        let is_answer = |message: &&Value| text(message, "/info/role") == "assistant";
        let last = messages.iter().rfind(is_answer)?;
        let belongs = text(last, "/info/parentID") == asked;
        if let Some(error) = last.pointer("/info/error").filter(|_| belongs) {
            return Some(ending_in(error));
        }
        let is_complete = last.pointer("/info/time/completed").is_some();
        if !belongs || !is_complete || text(last, "/info/finish") == "tool-calls" {
            return None;
        }
        let parts = last.get("parts").and_then(Value::as_array)?;
        let texts = parts.iter().filter(|part| text(part, "/type") == "text");
        let said: Vec<&str> = texts.map(|part| text(part, "/text").trim()).collect();
        let summary = said.join("\n\n");
        Some(AgentEvent::TurnEnded { summary: (!summary.is_empty()).then_some(summary) })
    }

    /// A session that a session of ours began.
    fn adopt(&mut self, content: &Value) {
        if self.sessions.contains(text(content, "/info/parentID")) {
            self.sessions.insert(text(content, "/info/id").to_owned());
        }
    }

    fn part(&mut self, part: &Value) -> Vec<AgentEvent> {
        match text(part, "/type") {
            "text" => self.whole_text(part, false),
            "reasoning" => self.whole_text(part, true),
            "tool" => self.tool(part),
            "step-finish" => vec![AgentEvent::Step { spend: spend(part) }],
            _ => vec![AgentEvent::Alive],
        }
    }

    fn delta(&mut self, content: &Value) -> Vec<AgentEvent> {
        let (part, delta) = (text(content, "/partID"), text(content, "/delta"));
        if text(content, "/field") != "text" {
            return vec![AgentEvent::Alive];
        }
        *self.texts.entry(part.to_owned()).or_default() += delta.len();
        vec![AgentEvent::Text { part: part.to_owned(), text: delta.to_owned(), is_thought: false }]
    }

    /// The part as a whole: what its pieces did not bring.
    fn whole_text(&mut self, part: &Value, is_thought: bool) -> Vec<AgentEvent> {
        let (id, whole) = (text(part, "/id"), text(part, "/text"));
        if self.users.contains(text(part, "/messageID")) {
            return vec![AgentEvent::Alive];
        }
        let told = self.texts.entry(id.to_owned()).or_default();
        let rest = whole.get(*told..).unwrap_or_default().to_owned();
        *told = whole.len().max(*told);
        if rest.is_empty() {
            return vec![AgentEvent::Alive];
        }
        vec![AgentEvent::Text { part: id.to_owned(), text: rest, is_thought }]
    }

    fn tool(&mut self, part: &Value) -> Vec<AgentEvent> {
        let tool = self.tools.entry(text(part, "/id").to_owned()).or_default();
        let (call, name) = (text(part, "/callID").to_owned(), text(part, "/tool").to_owned());
        let input = part.pointer("/state/input").cloned().unwrap_or_default();
        let status = text(part, "/state/status");
        let output = match status {
            "completed" => text(part, "/state/output"),
            "error" => text(part, "/state/error"),
            _ => text(part, "/state/metadata/output"),
        };
        let mut events = Vec::new();
        if matches!(status, "running" | "completed" | "error") && !tool.is_started {
            tool.is_started = true;
            let (call, tool, input) = (call.clone(), name.clone(), input.clone());
            events.push(AgentEvent::ToolStarted { call, tool, input });
        }
        if let Some(bytes) = output.len().checked_sub(tool.output_bytes).filter(|more| *more > 0) {
            tool.output_bytes = output.len();
            events.push(AgentEvent::Wrote { bytes: bytes as u64 });
        }
        if matches!(status, "completed" | "error") && !tool.is_finished {
            tool.is_finished = true;
            let at = |place| part.pointer(place).and_then(Value::as_u64).unwrap_or_default();
            events.push(AgentEvent::ToolFinished {
                call,
                tool: name,
                input,
                output: output.to_owned(),
                ok: status == "completed",
                ms: at("/state/time/end").saturating_sub(at("/state/time/start")),
            });
        }
        if events.is_empty() {
            events.push(AgentEvent::Alive);
        }
        events
    }
}

fn spend(part: &Value) -> Spend {
    let count = |place| part.pointer(place).and_then(Value::as_u64).unwrap_or_default();
    Spend {
        input_tokens: count("/tokens/input"),
        output_tokens: count("/tokens/output"),
        reasoning_tokens: count("/tokens/reasoning"),
        cache_read_tokens: count("/tokens/cache/read"),
        cache_write_tokens: count("/tokens/cache/write"),
        cost_usd: part.get("cost").and_then(Value::as_f64).unwrap_or_default(),
        ..Spend::default()
    }
}

/// How a turn ends with this error: refused by the provider, or failed.
fn ending_in(error: &Value) -> AgentEvent {
    let status = error.pointer("/data/statusCode").and_then(Value::as_u64);
    let failure = failure(error);
    if !matches!(status, Some(429 | 529)) {
        return AgentEvent::Failed(failure);
    }
    let told = error.pointer("/data/responseHeaders/retry-after").and_then(Value::as_str);
    let wait = told.and_then(|told| told.trim().parse().ok()).map(Span::from_secs);
    AgentEvent::Refused { why: failure.message, wait }
}

/// How long opencode waits before it asks again.
fn wait(content: &Value) -> Option<Span> {
    let next = content.pointer("/status/next").and_then(Value::as_u64)?;
    Some(Span { ms: next.saturating_sub(now_ms()) })
}

fn failure(error: &Value) -> Failure {
    let name = text(error, "/name");
    let status = error.pointer("/data/statusCode").and_then(Value::as_u64);
    let retryable = error.pointer("/data/isRetryable").and_then(Value::as_bool) == Some(true);
    let said = match text(error, "/data/message") {
        "" => name,
        said => said,
    };
    let class = class_of(status, name, retryable);
    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    match name {
        "MessageAbortedError" => Failure::new(ErrorClass::Error, "the turn was aborted"),
        _ => Failure::new(class, cut(&format!("opencode: {said}{status}"))),
    }
}

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(id: &str, part: &Value) -> Value {
        json!({ "id": id, "type": "message.part.updated",
                "properties": { "sessionID": "ses_1", "part": part } })
    }

    #[test]
    fn an_event_that_comes_twice_is_told_once() {
        let mut reader = Reader::new("ses_1".to_owned());
        let step = json!({ "id": "prt_1", "type": "step-finish", "cost": 0.5,
            "tokens": { "input": 800, "output": 50, "cache": { "read": 200 } } });
        let told = reader.read(&part("evt_1", &step));
        let [AgentEvent::Step { spend }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((spend.tokens(), spend.cache_read_tokens, spend.cost_usd), (850, 200, 0.5));
        let again = json!({ "id": "evt_1", "seq": 4, "type": "message.part.updated.1",
            "data": { "sessionID": "ses_1", "part": step } });
        assert_eq!(reader.read(&again), []);
    }

    #[test]
    fn what_an_agents_helpers_take_counts_and_strangers_do_not() {
        let mut reader = Reader::new("ses_1".to_owned());
        let created = |id: &str, parent: &str| {
            json!({ "id": format!("evt_{id}"), "type": "session.created", "properties": {
                "sessionID": id, "info": { "id": id, "parentID": parent } } })
        };
        reader.read(&created("ses_2", "ses_1"));
        reader.read(&created("ses_4", "ses_3"));
        let step = |event: &str, session: &str| {
            json!({ "id": event, "type": "message.part.updated", "properties": {
                "sessionID": session, "part": { "id": event, "type": "step-finish" } } })
        };
        assert_eq!(reader.read(&step("evt_5", "ses_2")).len(), 1);
        assert_eq!(reader.read(&step("evt_6", "ses_4")), []);
    }

    #[test]
    fn deltas_and_the_whole_text_are_told_once() {
        let mut reader = Reader::new("ses_1".to_owned());
        let delta = json!({ "id": "evt_1", "type": "message.part.delta", "properties": {
            "sessionID": "ses_1", "partID": "prt_1", "field": "text", "delta": "All " } });
        let told = reader.read(&delta);
        assert!(matches!(&told[0], AgentEvent::Text { text, .. } if text == "All "));
        let whole =
            json!({ "id": "prt_1", "messageID": "msg_2", "type": "text", "text": "All done" });
        let told = reader.read(&part("evt_2", &whole));
        assert!(matches!(&told[0], AgentEvent::Text { text, .. } if text == "done"));
    }

    #[test]
    fn a_tool_is_told_when_it_starts_and_when_it_ends() {
        let mut reader = Reader::new("ses_1".to_owned());
        let state = |event: &str, state: Value| {
            let tool = json!({ "id": "prt_1", "type": "tool", "callID": "c", "tool": "bash" });
            let mut tool = tool;
            tool["state"] = state;
            part(event, &tool)
        };
        assert_eq!(
            reader.read(&state("evt_1", json!({ "status": "pending" }))),
            [AgentEvent::Alive]
        );
        let running = json!({ "status": "running", "input": { "command": "ls" } });
        let told = reader.read(&state("evt_2", running));
        assert!(matches!(told.as_slice(), [AgentEvent::ToolStarted { .. }]), "{told:?}");
        let done = json!({ "status": "completed", "input": {}, "output": "a\nb\n",
            "time": { "start": 5, "end": 12 } });
        let told = reader.read(&state("evt_3", done));
        let [AgentEvent::Wrote { bytes: 4 }, AgentEvent::ToolFinished { ms: 7, ok: true, .. }] =
            told.as_slice()
        else {
            panic!("{told:?}")
        };
    }

    #[test]
    fn a_turn_is_over_when_the_last_answer_belongs_to_the_last_prompt() {
        let answer = |parent: &str, info: Value| {
            let mut answer = json!({ "info": { "role": "assistant", "parentID": parent },
                "parts": [{ "type": "text", "text": " bye " }] });
            for (key, value) in info.as_object().unwrap() {
                answer["info"][key] = value.clone();
            }
            json!([answer])
        };
        let done = json!({ "finish": "stop", "time": { "completed": 1 } });
        let over = AgentEvent::TurnEnded { summary: Some("bye".to_owned()) };
        assert_eq!(Reader::ending(&answer("msg_1", done.clone()), "msg_1"), Some(over));
        assert_eq!(Reader::ending(&answer("msg_0", done), "msg_1"), None);
        assert_eq!(Reader::ending(&answer("msg_1", json!({ "time": {} })), "msg_1"), None);
        let error = json!({ "error": { "name": "APIError",
            "data": { "message": "no", "statusCode": 401, "isRetryable": false } } });
        let ended = Reader::ending(&answer("msg_1", error), "msg_1");
        let Some(AgentEvent::Failed(failure)) = ended else { panic!("{ended:?}") };
        assert_eq!(failure, Failure::new(ErrorClass::Rejected, "opencode: no (401)"));
    }
}
