//! Answers in the form of chat completions: a list of deltas, streamed or put together.

use serde_json::{Value, json};

use super::{Step, script};

/// A step as deltas; the last one has the reason of the end. `place` tells calls apart.
pub(super) fn chunks(step: &Step, place: usize) -> Vec<Value> {
    match step {
        Step::Say(text) => said(text),
        Step::Flood(bytes) => {
            let mut chunks: Vec<Value> = (0..bytes.div_ceil(4_096))
                .map(|_| delta(&json!({ "content": "flood ".repeat(683) })))
                .collect();
            chunks.push(end("stop"));
            chunks
        }
        Step::Write { path, content } => {
            called("write", &json!({ "filePath": path, "content": content }), place)
        }
        Step::Bash(command) => {
            called("bash", &json!({ "command": command, "description": "scripted" }), place)
        }
        Step::Tool { name, input } => called(name, input, place),
        Step::Child(steps) => {
            let input = json!({
                "description": "help", "prompt": script(steps), "subagent_type": "general",
            });
            called("task", &input, place)
        }
        Step::Stall | Step::Error { .. } => said("It went well after all."),
    }
}

fn said(text: &str) -> Vec<Value> {
    let words = text.split_inclusive(' ').map(|word| delta(&json!({ "content": word })));
    words.chain([end("stop")]).collect()
}

fn called(name: &str, input: &Value, place: usize) -> Vec<Value> {
    let call = json!({
        "index": 0, "id": format!("call_{place}"), "type": "function",
        "function": { "name": name, "arguments": input.to_string() },
    });
    vec![delta(&json!({ "tool_calls": [call] })), end("tool_calls")]
}

fn delta(delta: &Value) -> Value {
    let mut chunk = frame();
    chunk["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
    chunk["choices"][0]["delta"]["role"] = json!("assistant");
    chunk
}

/// 800 tokens read anew and 200 from the cache, 50 written.
fn end(reason: &str) -> Value {
    let mut chunk = frame();
    chunk["choices"] = json!([{ "index": 0, "delta": {}, "finish_reason": reason }]);
    chunk["usage"] = json!({
        "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050,
        "prompt_tokens_details": { "cached_tokens": 200 },
    });
    chunk
}

fn frame() -> Value {
    json!({ "id": "scripted", "object": "chat.completion.chunk", "created": 1, "model": "scripted" })
}

pub(super) fn stream(chunks: &[Value]) -> String {
    let done = std::iter::once("[DONE]".to_owned());
    let data = chunks.iter().map(Value::to_string).chain(done);
    data.flat_map(|data| ["data: ".to_owned(), data, "\n\n".to_owned()]).collect()
}

/// The same as one object.
pub(super) fn whole(chunks: &[Value]) -> Value {
    let deltas = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let content: String = deltas().filter_map(|delta| delta["content"].as_str()).collect();
    let calls = deltas().find_map(|delta| delta.get("tool_calls")).cloned();
    let last = chunks.last().cloned().unwrap_or_default();
    let mut message = json!({ "role": "assistant", "content": content });
    if let Some(calls) = calls {
        message["tool_calls"] = calls;
    }
    json!({
        "id": "scripted", "object": "chat.completion", "created": 1, "model": "scripted",
        "usage": last["usage"],
        "choices": [{
            "index": 0, "message": message, "finish_reason": last["choices"][0]["finish_reason"],
        }],
    })
}
