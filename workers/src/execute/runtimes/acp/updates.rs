//! What an agent's updates mean, and what of the conversation is worth telling another one.

use std::{collections::HashMap, fmt::Write as _};

use jobshop_engine::{
    checkpoint::Spend,
    outcome::{ErrorClass, Failure},
};
use serde_json::Value;
use tokio::time::Instant;

use super::policy::Ask;
use crate::execute::runtimes::{AgentEvent, refusal};

/// How much of one entry is told to another conversation.
const ENTRY_CHARS_MAX: usize = 600;

/// One conversation's updates as they are understood.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// By the name of the request, with the request's id.
    pub(super) asks: HashMap<String, (Value, Ask)>,
    calls: HashMap<String, Call>,
    /// The pieces of the text that is being said.
    text: String,
    part: u64,
    /// Money of the whole conversation, and what of it has been told.
    cost: f64,
    cost_told: f64,
    told: String,
}

#[derive(Debug)]
struct Call {
    tool: String,
    input: Value,
    since: Instant,
    is_finished: bool,
}

impl Updates {
    pub(super) fn read(&mut self, update: &Value) -> Vec<AgentEvent> {
        match update["sessionUpdate"].as_str().unwrap_or_default() {
            "agent_message_chunk" => self.text(update, false),
            "agent_thought_chunk" => self.text(update, true),
            "tool_call" | "tool_call_update" => self.call(update),
            "usage_update" => {
                let cost = update["cost"]["amount"].as_f64();
                self.cost = cost.unwrap_or(self.cost).max(self.cost);
                vec![AgentEvent::Alive]
            }
            _ => vec![AgentEvent::Alive],
        }
    }

    /// What the answer to a prompt says: the turn is over.
    pub(super) fn ended(&mut self, answer: Result<Value, Value>) -> Vec<AgentEvent> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let why = format!("the agent failed: {}", super::in_words(&error));
                return vec![match refusal::of_error(&error) {
                    Some(refusal) => AgentEvent::Refused { why, wait: refusal.wait },
                    None => AgentEvent::Failed(Failure::new(ErrorClass::Error, why)),
                }];
            }
        };
        let count = |name: &str| answer["usage"][name].as_u64().unwrap_or_default();
        let step = AgentEvent::Step {
            spend: Spend {
                input_tokens: count("inputTokens"),
                output_tokens: count("outputTokens"),
                reasoning_tokens: count("thoughtTokens"),
                cache_read_tokens: count("cachedReadTokens"),
                cache_write_tokens: count("cachedWriteTokens"),
                cost_usd: self.take_cost(),
                ..Spend::default()
            },
        };
        let said = std::mem::take(&mut self.text);
        let summary = Some(said.trim().to_owned()).filter(|it| !it.is_empty());
        self.said("answer", summary.as_deref().unwrap_or_default());
        let end = match answer["stopReason"].as_str().unwrap_or_default() {
            "end_turn" => AgentEvent::TurnEnded { summary },
            "refusal" => failed(ErrorClass::Rejected, "the model refused"),
            "max_tokens" => failed(ErrorClass::TooLarge, "the model's context is full"),
            "max_turn_requests" => failed(ErrorClass::MaxRounds, "the agent took all its steps"),
            other => failed(ErrorClass::Error, &format!("the turn ended as `{other}`")),
        };
        vec![step, end]
    }

    /// Notes what somebody said or did, for a conversation after this one.
    pub(super) fn said(&mut self, who: &str, what: &str) {
        let short: String = what.chars().take(ENTRY_CHARS_MAX).collect();
        if !short.trim().is_empty() {
            let _ = writeln!(self.told, "[{who}] {short}");
        }
    }

    pub(super) fn take_told(&mut self) -> String {
        std::mem::take(&mut self.told)
    }

    fn text(&mut self, update: &Value, is_thought: bool) -> Vec<AgentEvent> {
        let text = update["content"]["text"].as_str().unwrap_or_default().to_owned();
        if !is_thought {
            self.text.push_str(&text);
        }
        let part = format!("{}{}", if is_thought { "thought-" } else { "text-" }, self.part);
        vec![AgentEvent::Text { part, text, is_thought }]
    }

    fn call(&mut self, update: &Value) -> Vec<AgentEvent> {
        let id = update["toolCallId"].as_str().unwrap_or_default().to_owned();
        let mut events = Vec::new();
        let call = self.calls.entry(id.clone()).or_insert_with(|| Call {
            tool: String::new(),
            input: Value::Null,
            since: Instant::now(),
            is_finished: false,
        });
        if let Some(title) = update["title"].as_str().filter(|_| call.tool.is_empty()) {
            title.clone_into(&mut call.tool);
        }
        let is_new = call.input.is_null() && !update["rawInput"].is_null();
        if is_new {
            call.input = update["rawInput"].clone();
        }
        let status = update["status"].as_str().unwrap_or_default();
        let ends = matches!(status, "completed" | "failed") && !call.is_finished;
        if !ends {
            return vec![AgentEvent::Alive];
        }
        call.is_finished = true;
        let output = output(update);
        let (tool, input) = (call.tool.clone(), call.input.clone());
        let ms = u64::try_from(call.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The input is often known at the end only.
        events.push(AgentEvent::ToolStarted {
            call: id.clone(),
            tool: tool.clone(),
            input: input.clone(),
        });
        events.push(AgentEvent::Wrote { bytes: output.len() as u64 });
        self.said("tool", &format!("{tool} {input}"));
        // What is said from here on is said after this tool.
        self.text.clear();
        self.part += 1;
        let ok = status == "completed";
        events.push(AgentEvent::ToolFinished { call: id, tool, input, output, ok, ms });
        let spend = Spend { cost_usd: self.take_cost(), ..Spend::default() };
        events.push(AgentEvent::Step { spend });
        events
    }

    fn take_cost(&mut self) -> f64 {
        let fresh = self.cost - self.cost_told;
        self.cost_told = self.cost;
        fresh
    }
}

fn failed(class: ErrorClass, why: &str) -> AgentEvent {
    AgentEvent::Failed(Failure::new(class, why))
}

/// The text among what a tool brought.
fn output(update: &Value) -> String {
    let content = update["content"].as_array();
    let texts = content.into_iter().flatten().filter_map(|it| it["content"]["text"].as_str());
    let text: Vec<&str> = texts.collect();
    if !text.is_empty() {
        return text.join("\n");
    }
    match &update["rawOutput"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other["output"].as_str().map_or_else(|| other.to_string(), str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_told_once_with_what_came_of_it() {
        let mut updates = Updates::default();
        let start = json!({ "sessionUpdate": "tool_call", "toolCallId": "c", "title": "bash",
            "status": "pending", "rawInput": {} });
        assert_eq!(updates.read(&start), [AgentEvent::Alive]);
        let end = json!({ "sessionUpdate": "tool_call_update", "toolCallId": "c",
            "status": "completed", "content": [{ "content": { "type": "text", "text": "ok" } }] });
        let told = updates.read(&end);
        assert!(matches!(told[2], AgentEvent::ToolFinished { ok: true, .. }), "{told:?}");
        assert!(matches!(told[3], AgentEvent::Step { .. }), "{told:?}");
        assert_eq!(updates.read(&end), [AgentEvent::Alive]);
    }

    #[test]
    fn the_last_words_are_the_summary_and_costs_are_told_as_they_grow() {
        let mut updates = Updates::default();
        let cost =
            |amount: f64| json!({ "sessionUpdate": "usage_update", "cost": { "amount": amount } });
        updates.read(&cost(0.5));
        updates
            .read(&json!({ "sessionUpdate": "agent_message_chunk", "content": { "text": "bye" } }));
        let ended = updates.ended(Ok(json!({ "stopReason": "end_turn" })));
        let [AgentEvent::Step { spend }, AgentEvent::TurnEnded { summary }] = ended.as_slice()
        else {
            panic!("{ended:?}")
        };
        assert!((spend.cost_usd - 0.5).abs() < 1e-9);
        assert_eq!(summary.as_deref(), Some("bye"));
        assert_eq!(updates.take_told(), "[answer] bye\n");
        let refused = updates.ended(Err(json!({ "message": "no" })));
        assert!(matches!(&refused[0], AgentEvent::Failed(it) if it.message.contains("no")));
        let error = json!({ "message": "Internal error", "data": { "status": 429 } });
        let throttled = updates.ended(Err(error));
        assert!(matches!(&throttled[0], AgentEvent::Refused { .. }), "{throttled:?}");
    }
}
