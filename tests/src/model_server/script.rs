//! What the model is to do, as it stands in a prompt: `model: [ … ]`, a step an answer, the last one
//! for ever.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::messages_of;

/// The tool that asks people.
const QUESTION: &str = "question";

/// What comes before a script in a prompt.
pub const MARK: &str = "model: ";

/// One answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Ends the turn with these words.
    Say(String),
    /// Writes a file of the workspace.
    Write {
        path: String,
        content: String,
    },
    Bash(String),
    /// Any tool with any input.
    Tool {
        name: String,
        input: Value,
    },
    /// Says this much before it calls nothing: a flood.
    Flood(usize),
    /// Never answers; in a conversation that was taken up again, goes on with the next step.
    Stall,
    /// Refuses, so often or always, then says something.
    Error {
        status: u16,
        times: Option<usize>,
    },
    /// Has a helper do what another script says.
    Child(Vec<Step>),
}

/// A prompt that makes the model do these steps.
pub fn script(steps: &[Step]) -> String {
    format!("{MARK}{}", serde_json::to_string(steps).expect("steps are JSON"))
}

/// What is due in this conversation. Where nobody says it, the command `play` does, if there is one.
pub(super) fn step(request: &Value, play: Option<&str>) -> Step {
    let messages = messages_of(request);
    let scripts = messages.iter().enumerate().rev();
    let found =
        scripts.filter(|(_, message)| message["role"] == "user").find_map(|(at, message)| {
            let text = text(&message["content"]);
            let (_, script) = text.split_once(MARK)?;
            let mut scripts = serde_json::Deserializer::from_str(script).into_iter::<Vec<Step>>();
            Some((at, scripts.next()?.ok()?))
        });
    let Some((at, steps)) = found else {
        return play.map_or_else(
            || Step::Say("I was told nothing.".to_owned()),
            |it| played(messages, it),
        );
    };
    let done = messages[at..].iter().filter(|message| message["role"] == "assistant").count();
    let is_taken_up = messages[at + 1..].iter().any(|message| message["role"] == "user");
    let stalls = |step: &Step| is_taken_up && *step == Step::Stall;
    let mut left = steps.iter().filter(|step| !stalls(step));
    let step = left.clone().nth(done).or_else(|| left.next_back());
    step.cloned().unwrap_or_else(|| Step::Say("Done.".to_owned()))
}

/// Runs the command. A line `ask: INPUT` that it prints is a question for people, with whose answer in
/// `$ANSWER` it is run again; what else it prints last is said.
fn played(messages: &[Value], play: &str) -> Step {
    let turn = messages.iter().rposition(|it| it["role"] == "user").map_or(0, |at| at + 1);
    let turn = &messages[turn..];
    let Some(result) = turn.iter().rfind(|it| it["role"] == "tool") else {
        return Step::Bash(play.to_owned());
    };
    let said = text(&result["content"]);
    let called = turn.iter().rfind(|it| it["tool_calls"].is_array());
    if called.is_some_and(|it| it["tool_calls"][0]["function"]["name"] == QUESTION) {
        return Step::Bash(format!("ANSWER='{}' {play}", said.replace('\'', "'\\''")));
    }
    let asked =
        said.lines().find_map(|line| serde_json::from_str(line.strip_prefix("ask: ")?).ok());
    match asked {
        Some(input) => Step::Tool { name: QUESTION.to_owned(), input },
        None => {
            Step::Say(said.lines().rfind(|it| !it.trim().is_empty()).unwrap_or("Done.").to_owned())
        }
    }
}

/// Content is text, or a list of parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_conversation_says_which_step_is_due() {
        let steps = [Step::Bash("ls".into()), Step::Say("done".into())];
        let user =
            json!({ "role": "user", "content": format!("please {}\nthanks", script(&steps)) });
        let answer = json!({ "role": "assistant", "content": "" });
        let continued = json!({ "role": "user", "content": [{ "type": "text", "text": "go on" }] });
        let due = |messages: &[&Value]| step(&json!({ "messages": messages }), None);
        assert_eq!(due(&[&user]), steps[0]);
        assert_eq!(due(&[&user, &answer]), steps[1]);
        assert_eq!(due(&[&user, &answer, &continued]), steps[1]);
        assert_eq!(due(&[&user, &answer, &answer, &answer]), steps[1]);
        assert_eq!(due(&[&continued]), Step::Say("I was told nothing.".to_owned()));
    }
}
