//! What a new session is asked for: the workflow, its inputs and how the session is called. It
//! makes the body of the request and sends nothing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jobshop_engine::plan::Plan;
use jobshop_engine::priority::Priority;
use jobshop_engine::workflow::{self, Limits, check_inputs, input_from_text};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::printable;

/// The options that every command has that starts a session.
#[derive(Debug, Clone, Args)]
pub(super) struct RequestArgs {
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    label: LabelArgs,
}

/// What a session is started with.
#[derive(Debug, Clone, Args)]
pub(super) struct InputArgs {
    /// An input: text for string inputs, JSON for the others
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// A file with inputs, a JSON object; `-` is standard input
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
}

/// How a session is called and found again.
#[derive(Debug, Clone, Args)]
pub(super) struct LabelArgs {
    /// How the session is called in lists
    #[arg(long)]
    title: Option<String>,
    /// A word to find the session by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// critical, high, medium, low or deferred
    #[arg(long, value_parser = |text: &str| text.parse::<Priority>())]
    priority: Option<Priority>,
}

impl RequestArgs {
    /// The body of the request for a session of `source`, whose compiled form is `plan`.
    pub(super) fn body(&self, source: &Source, plan: &Plan) -> Result<Value, Failure> {
        let mut body = source.body();
        body.insert("inputs".into(), Value::Object(self.inputs.inputs(plan)?));
        self.label.add_to(&mut body);
        Ok(Value::Object(body))
    }
}

impl InputArgs {
    /// What is given, once it is known to fit; defaults are the server's business.
    pub(super) fn inputs(&self, plan: &Plan) -> Result<Map<String, Value>, Failure> {
        let values = self.given(plan)?;
        match check_inputs(plan, values.clone()) {
            Ok(_) => Ok(values),
            Err(problems) => Err(refuse(&problems)),
        }
    }

    /// What is given, each value for itself; something may be missing.
    pub(super) fn given(&self, plan: &Plan) -> Result<Map<String, Value>, Failure> {
        let mut values = match &self.input_file {
            Some(file) => read_inputs(file)?,
            None => Map::new(),
        };
        let mut problems = Vec::new();
        for (index, (name, text)) in self.inputs.iter().enumerate() {
            if self.inputs[..index].iter().any(|(earlier, _)| earlier == name) {
                problems.push(format!("the input `{name}` is given twice"));
                continue;
            }
            match input_from_text(plan, name, text) {
                Ok(value) => drop(values.insert(name.clone(), value)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(refuse(&problems)) }
    }
}

pub(super) fn refuse(problems: &[String]) -> Failure {
    Failure::usage(problems.join("\n       ")).hint("give inputs with -i NAME=VALUE")
}

impl LabelArgs {
    pub(super) fn add_to(&self, body: &mut Map<String, Value>) {
        let title = self.title.as_ref().map(|title| ("title", json!(title)));
        let tags = (!self.tags.is_empty()).then(|| ("tags", json!(self.tags)));
        let priority = self.priority.map(|priority| ("priority", json!(priority)));
        for (key, value) in [title, tags, priority].into_iter().flatten() {
            body.insert(key.into(), value);
        }
    }
}

/// Where the workflow of a session comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// YAML, the file it comes from, and the folder that relative paths in it start at.
    Definition { file: String, yaml: String, file_dir: Option<PathBuf> },
    /// A registered workflow, `name` or `name@version`.
    Workflow(String),
}

impl Source {
    /// The workflow in its compiled form; a registered one is asked for.
    pub(super) async fn plan(&self, client: &Client) -> Result<Plan, Failure> {
        match self {
            Self::Definition { file, yaml, file_dir } => {
                compile_within(file, yaml, &limits(file_dir.as_deref()))
            }
            Self::Workflow(name) => {
                let object = super::workflow::find(client, name).await?;
                let yaml = object["definition"].as_str().unwrap_or_default();
                compile(name, yaml)
            }
        }
    }

    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        match self {
            Self::Definition { yaml, file_dir, .. } => {
                body.insert("definition".into(), json!(yaml));
                if let Some(dir) = file_dir {
                    body.insert("file_dir".into(), json!(dir));
                }
            }
            Self::Workflow(name) => {
                body.insert("workflow".into(), json!(name));
            }
        }
        body
    }
}

/// The text of a file; `-` is standard input.
pub(super) fn read_text(file: &Path) -> Result<String, Failure> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
}

fn read_inputs(file: &Path) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(&read_text(file)?)
        .map_err(|error| Failure::usage(format!("{}: not a JSON object: {error}", file.display())))
}

/// A relative repository needs a folder to start at.
fn limits(file_dir: Option<&Path>) -> Limits {
    Limits { relative_repo: file_dir.is_some(), ..Limits::default() }
}

/// Compiles, or fails with every problem as a person reads it.
pub(super) fn compile(file: &str, yaml: &str) -> Result<Plan, Failure> {
    compile_within(file, yaml, &Limits::default())
}

fn compile_within(file: &str, yaml: &str, limits: &Limits) -> Result<Plan, Failure> {
    workflow::compile_within(yaml, limits).map_err(|problems| {
        let told: Vec<String> = problems
            .iter()
            .map(|problem| printable(problem.render(file, yaml).trim_end()))
            .collect();
        let count = match told.len() {
            1 => "one problem".to_owned(),
            many => format!("{many} problems"),
        };
        Failure::usage(format!("{file} is no valid workflow: {count}\n{}", told.join("\n")))
    })
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const WORKFLOW: &str = "\
version: 1
name: ship
inputs:
  goal: { type: string, required: true }
  count: { type: integer }
tasks:
  only: { uses: builtin/noop }
";

    fn request(pairs: &[&str]) -> RequestArgs {
        RequestArgs {
            inputs: InputArgs {
                inputs: pairs.iter().map(|text| pair(text).unwrap()).collect(),
                input_file: None,
            },
            label: LabelArgs {
                title: None,
                tags: vec!["a".into()],
                priority: Some(Priority::High),
            },
        }
    }

    fn body(request: &RequestArgs) -> Result<Value, Failure> {
        let source = Source::Workflow("ship@2".into());
        request.body(&source, &compile("ship.yaml", WORKFLOW).unwrap())
    }

    #[test]
    fn text_for_string_inputs_and_json_for_the_others() {
        let wanted = json!({
            "workflow": "ship@2",
            "inputs": {"goal": "12=x", "count": 7},
            "tags": ["a"],
            "priority": "high",
        });
        assert_eq!(body(&request(&["goal=12=x", "count=7"])).unwrap(), wanted);
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused_all_at_once() {
        let refusal = body(&request(&["count=seven", "missing=1"])).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        assert!(refusal.message.contains("count") && refusal.message.contains("missing"));
        let refusal = body(&request(&[])).unwrap_err();
        assert!(refusal.message.contains("goal"), "{refusal}");
        assert!(pair("=1").is_err() && pair("x").is_err());
    }

    #[test]
    fn an_input_is_given_once() {
        let refusal = body(&request(&["goal=a", "count=1", "goal=b"])).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        assert_eq!(refusal.message, "the input `goal` is given twice");
    }

    #[test]
    fn inputs_of_a_file_yield_to_those_of_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"goal": "file", "count": 1}"#).unwrap();
        let mut args = request(&["count=2"]);
        args.inputs.input_file = Some(file.path().to_owned());
        assert_eq!(body(&args).unwrap()["inputs"], json!({"goal": "file", "count": 2}));
    }

    #[test]
    fn an_invalid_workflow_is_refused_with_every_problem() {
        let refusal = compile("x.yaml", "version: 1\nname: x\ntaks: {}\n").unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        assert!(refusal.message.contains("x.yaml:3:1"), "{refusal}");
    }
}
