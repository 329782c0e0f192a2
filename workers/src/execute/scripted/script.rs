//! The file that the `scripted` runtime plays, as types: its YAML and its JSON Schema. How steps
//! are played stands beside it.

use std::collections::BTreeMap;

use jobshop_engine::{duration::Span, outcome::ErrorClass};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a scripted agent does. All texts and paths are minijinja templates.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Played by every attempt that `attempts` does not list.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Played instead by single attempts, by their number from 1.
    #[serde(default)]
    pub attempts: BTreeMap<String, Vec<Step>>,
}

/// One thing a scripted agent does; paths are relative to the workspace and stay inside it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Prints a line.
    Print(String),
    /// Writes a file, and the folders above it.
    Write(Text),
    /// Adds to the end of a file, which may be missing.
    Append(Text),
    /// Replaces text in a file.
    Replace(Replace),
    /// Deletes a file or folder; a missing one is fine.
    Delete(String),
    /// Copies a file.
    Copy(Copy),
    /// Finds text in files, to be used by later steps or written down.
    Extract(Extract),
    /// Executes a bash script, or a program with its arguments.
    Run(Program),
    /// Waits until a file exists, inside the workspace or at an absolute path.
    WaitFor(String),
    /// Does nothing for a while.
    Sleep(Span),
    /// Plays steps if a condition holds.
    When(When),
    /// Asks people to be allowed something, or to be told something.
    Ask(Ask),
    /// Sets outputs, besides those that commands write to `$JOBSHOP_OUTPUT`.
    Outputs(Map<String, Value>),
    /// Says what was done.
    Summary(String),
    /// Says what it took, in any shape.
    Usage(Value),
    /// Fails the attempt.
    Fail(Fail),
    /// Ends the attempt as if the model's provider had refused it.
    Refuse(Refuse),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub path: String,
    pub text: String,
}

/// Exactly one of `find` and `pattern`. Without a match the attempt fails, unless `optional`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    pub path: String,
    /// Literal text.
    pub find: Option<String>,
    /// A regular expression, used as it is written; `with` may then name its groups: `${1}`.
    pub pattern: Option<String>,
    pub with: String,
    /// Only the first match.
    #[serde(default)]
    pub first: bool,
    #[serde(default)]
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Which files: `src/**/*.rs`.
    pub files: String,
    /// A regular expression, used as it is written. A match is its first group, or all of it.
    pub pattern: String,
    /// The name under which later templates find the list of matches: `found.NAME`, each with
    /// `text`, `groups`, `path` and `line`.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// A file to which a line per match is added.
    pub into: Option<String>,
    /// That line, a template that also knows `match`. Default: the match itself.
    pub line: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Program {
    /// A bash script. It is no template: values reach it through the environment.
    Script(String),
    Argv(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// A minijinja expression, without braces.
    pub test: String,
    pub steps: Vec<Step>,
}

/// Exactly one of `tool` and `question`. What is denied fails the attempt, unless `as` keeps the answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// A permission to use this: `bash`, `edit`, `webfetch`, …
    pub tool: Option<String>,
    /// The command, path or address that it is to be used on.
    pub what: Option<String>,
    pub question: Option<String>,
    /// Answers to choose from.
    #[serde(default)]
    pub options: Vec<String>,
    /// The name under which later templates find the answer: `found.NAME`, with `allowed` and
    /// `text`.
    #[serde(rename = "as")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// Default: `error`.
    pub class: Option<ErrorClass>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// When the provider says it may be asked again.
    pub retry_after: Option<Span>,
}

impl Script {
    /// Reads YAML or JSON; the error names line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// What an attempt plays.
    pub fn of_attempt(&self, attempt: i32) -> &[Step] {
        self.attempts.get(&attempt.to_string()).unwrap_or(&self.steps)
    }
}

/// The JSON Schema of a script.
pub fn schema() -> Value {
    schemars::schema_for!(Script).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_script_is_read() {
        let docs = include_str!("../../../../docs/scripted-agent.md");
        let (_, yaml) = docs.split_once("```yaml\n").unwrap();
        let (yaml, _) = yaml.split_once("```").unwrap();
        let script = Script::parse(yaml).unwrap();
        assert!(script.steps.len() >= 10);
        assert_eq!(script.of_attempt(1).len(), 2);
        assert_eq!(script.of_attempt(2), script.steps);
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let value: Value = serde_saphyr::from_str(yaml).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn unknown_steps_and_keys_are_refused() {
        for text in [
            "steps: [{ explode: now }]",
            "steps: [{ write: { path: a, text: b, mode: 7 } }]",
            "step: []",
        ] {
            assert!(Script::parse(text).is_err(), "{text}");
        }
        assert!(Script::parse("{\"attempts\": {\"1\": [{\"print\": \"hi\"}]}}").is_ok());
    }
}
