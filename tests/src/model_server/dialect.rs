//! The same model as other providers speak: messages in the form of Anthropic, responses in that of
//! `OpenAI`. What is asked becomes a chat; an answer is always streamed as events.

use serde_json::{Value, json};

use super::Step;

/// How a model is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Chat,
    Messages,
    Responses,
}

impl Dialect {
    /// The request with its conversation as a chat: who spoke, and what.
    pub(super) fn in_chat(self, mut request: Value) -> Value {
        let listed = |name: &str| request[name].as_array().cloned().unwrap_or_default();
        let messages: Vec<Value> = match self {
            Self::Chat => return request,
            Self::Messages => listed("messages").iter().map(of_message).collect(),
            Self::Responses => listed("input").iter().map(of_item).collect(),
        };
        request["messages"] = messages.into();
        request
    }

    /// An answer as events.
    pub(super) fn answer(self, step: &Step, place: usize, request: &Value) -> String {
        let events = match (self, action(step, request)) {
            (Self::Responses, action) => responses(&action, place),
            (Self::Chat | Self::Messages, action) => messages(&action, place),
        };
        let events = events.iter().map(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            format!("event: {kind}\ndata: {event}\n\n")
        });
        events.collect()
    }
}

/// What brings the result of a tool is nothing that a user says.
fn of_message(message: &Value) -> Value {
    let blocks = message["content"].as_array().into_iter().flatten();
    let has_result = blocks.into_iter().any(|block| block["type"] == "tool_result");
    let role = if has_result { &json!("tool") } else { &message["role"] };
    json!({ "role": role, "content": message["content"] })
}

fn of_item(item: &Value) -> Value {
    let role = match item["type"].as_str().unwrap_or("message") {
        "message" => item["role"].clone(),
        "function_call" | "custom_tool_call" => json!("assistant"),
        _ => json!("tool"),
    };
    json!({ "role": role, "content": item["content"] })
}

enum Action {
    Say(String),
    Call { tool: String, input: Value },
}

/// The step with the tools that this agent offers.
fn action(step: &Step, request: &Value) -> Action {
    let call = |tool: &str, input: Value| Action::Call { tool: tool.to_owned(), input };
    match step {
        Step::Say(text) => Action::Say(text.clone()),
        Step::Tool { name, input } => call(name, input.clone()),
        Step::Write { path, content } => {
            call("Write", json!({ "file_path": path, "content": content }))
        }
        Step::Bash(command) => {
            let offered = request["tools"].as_array().into_iter().flatten();
            let names: Vec<&str> = offered.filter_map(|tool| tool["name"].as_str()).collect();
            match names.iter().find(|it| ["exec_command", "shell_command", "shell"].contains(it)) {
                Some(name @ &"exec_command") => call(name, json!({ "cmd": command })),
                Some(name @ &"shell_command") => call(name, json!({ "command": command })),
                Some(name) => call(name, json!({ "command": ["bash", "-c", command] })),
                None => call("Bash", json!({ "command": command, "description": "scripted" })),
            }
        }
        Step::Flood(_) | Step::Child(_) | Step::Stall | Step::Error { .. } => {
            Action::Say("It went well after all.".to_owned())
        }
    }
}

fn messages(action: &Action, place: usize) -> Vec<Value> {
    let usage = json!({ "input_tokens": 800, "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 0, "output_tokens": 1 });
    let message = json!({ "id": format!("msg_{place}"), "type": "message", "role": "assistant",
        "model": "scripted", "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": usage });
    let (block, delta, reason) = match action {
        Action::Say(text) => (
            json!({ "type": "text", "text": "" }),
            json!({ "type": "text_delta", "text": text }),
            "end_turn",
        ),
        Action::Call { tool, input } => (
            json!({ "type": "tool_use", "id": format!("toolu_{place}"), "name": tool, "input": {} }),
            json!({ "type": "input_json_delta", "partial_json": input.to_string() }),
            "tool_use",
        ),
    };
    vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "usage": { "output_tokens": 50 },
            "delta": { "stop_reason": reason, "stop_sequence": null } }),
        json!({ "type": "message_stop" }),
    ]
}

fn responses(action: &Action, place: usize) -> Vec<Value> {
    let id = format!("resp_{place}");
    let item = match action {
        Action::Say(text) => json!({ "type": "message", "id": format!("msg_{place}"),
            "role": "assistant", "content": [{ "type": "output_text", "text": text }] }),
        Action::Call { tool, input } => json!({ "type": "function_call",
            "id": format!("fc_{place}"), "call_id": format!("call_{place}"), "name": tool,
            "arguments": input.to_string() }),
    };
    let usage = json!({ "input_tokens": 1000, "input_tokens_details": { "cached_tokens": 200 },
        "output_tokens": 50, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 1050 });
    vec![
        json!({ "type": "response.created", "response": { "id": id } }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
        json!({ "type": "response.completed", "response": { "id": id, "usage": usage } }),
    ]
}
