//! The `scripted` runtime: an agent that does what a file says. For demos and tests, and the one
//! runtime that needs nothing installed: the same script, prompt and tree give the same edits.

mod asking;
pub mod script;
mod tree;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use jobshop_engine::outcome::ErrorClass;
use minijinja::{Environment as Templates, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use regex::Regex;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use self::{
    script::{Program as Wished, Script, Step},
    tree::{Match, Tree, Wanted},
};
use super::{
    Inner,
    agent::{Setting, Turn},
    command::Program,
    halt::{Done, Halt},
    link::Link,
    log::Stream,
    output::Outputs,
};

const SCRIPT_BYTES_MAX: u64 = 1024 * 1024;
const FUEL: u64 = 1_000_000;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A script being played.
struct Player<'a> {
    inner: &'a Inner,
    setting: Setting<'a>,
    tree: Tree,
    templates: Templates<'static>,
    found: Map<String, Value>,
    outputs: Outputs,
    turn: Turn,
    link: &'a mut Link,
    /// Questions that were asked.
    asked: u32,
}

impl Inner {
    pub(super) async fn scripted_turn(
        &self,
        setting: Setting<'_>,
        link: &mut Link,
    ) -> Done<(Turn, Outputs)> {
        let script = read(setting)?;
        let mut templates = Templates::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        templates.set_syntax(syntax.context("configuring templates")?);
        let mut player = Player {
            inner: self,
            setting,
            tree: Tree::new(setting.directory.workspace()),
            templates,
            found: Map::new(),
            outputs: Outputs::new(),
            turn: Turn::default(),
            link,
            asked: 0,
        };
        player.play(script.of_attempt(setting.attempt.fence.attempt)).await?;
        Ok((player.turn, player.outputs))
    }
}

/// Reads the script that the task names; a relative path starts at the folder of the workflow file.
fn read(setting: Setting<'_>) -> Done<Script> {
    let named = setting.work.script.as_deref();
    let named = named.ok_or_else(|| Halt::error("the scripted runtime needs a `script`"))?;
    let path = match &setting.attempt.file_dir {
        _ if Path::new(named).is_absolute() => Path::new(named).to_owned(),
        Some(dir) => Path::new(dir).join(named),
        None => {
            return Err(Halt::error(format!(
                "the script `{named}` is a relative path, which has a meaning only for \
                 `jobshop run FILE`"
            )));
        }
    };
    let unreadable = || format!("reading the script {}", path.display());
    let size = std::fs::metadata(&path).with_context(unreadable)?.len();
    if size > SCRIPT_BYTES_MAX {
        return Err(Halt::error(format!("the script {} is too long", path.display())));
    }
    let text = std::fs::read_to_string(&path).with_context(unreadable)?;
    Script::parse(&text).map_err(|why| Halt::error(format!("{}: {why}", path.display())))
}

impl Player<'_> {
    /// Steps are boxed because `when` nests them.
    fn play<'a>(
        &'a mut self,
        steps: &'a [Step],
    ) -> std::pin::Pin<Box<dyn Future<Output = Done<()>> + Send + 'a>> {
        Box::pin(async move {
            for (number, step) in (1..).zip(steps) {
                self.step(step).await.map_err(|halt| said_of(number, step, halt))?;
            }
            Ok(())
        })
    }

    async fn step(&mut self, step: &Step) -> Done<()> {
        match step {
            Step::Run(wished) => self.run(wished).await,
            Step::Sleep(span) => self.wait(sleep(span.to_std())).await,
            Step::WaitFor(path) => self.wait_for(&self.render(path)?).await,
            Step::When(when) => {
                if self.test(&when.test)? {
                    self.play(&when.steps).await?;
                }
                Ok(())
            }
            Step::Print(text) => {
                let line = format!("{}\n", self.render(text)?);
                self.setting.log.bytes(Stream::Stdout, line.as_bytes());
                Ok(())
            }
            Step::Outputs(outputs) => {
                for (name, value) in outputs {
                    let value = self.render_value(value)?;
                    self.outputs.insert(name.clone(), value);
                }
                Ok(())
            }
            Step::Summary(text) => {
                self.turn.summary = Some(self.render(text)?);
                Ok(())
            }
            Step::Usage(usage) => {
                self.turn.usage = Some(self.render_value(usage)?);
                Ok(())
            }
            Step::Fail(fail) => {
                let class = fail.class.unwrap_or(ErrorClass::Error);
                Err(Halt::failed(class, self.render(&fail.message)?))
            }
            Step::Refuse(refuse) => {
                let why = "429 Too Many Requests".to_owned();
                Err(Halt::Refused { wait: refuse.retry_after, why })
            }
            Step::Extract(extract) => self.extract(extract),
            Step::Ask(ask) => self.ask(ask).await,
            Step::Write(_)
            | Step::Append(_)
            | Step::Replace(_)
            | Step::Delete(_)
            | Step::Copy(_) => self.edit(step),
        }
    }

    fn edit(&self, step: &Step) -> Done<()> {
        match step {
            Step::Write(it) => self.tree.write(&self.render(&it.path)?, &self.render(&it.text)?),
            Step::Append(it) => self.tree.append(&self.render(&it.path)?, &self.render(&it.text)?),
            Step::Delete(path) => self.tree.delete(&self.render(path)?),
            Step::Copy(it) => self.tree.copy(&self.render(&it.from)?, &self.render(&it.to)?),
            Step::Replace(it) => self.replace(it),
            Step::Print(_)
            | Step::Extract(_)
            | Step::Ask(_)
            | Step::Run(_)
            | Step::WaitFor(_)
            | Step::Sleep(_)
            | Step::When(_)
            | Step::Outputs(_)
            | Step::Summary(_)
            | Step::Usage(_)
            | Step::Fail(_)
            | Step::Refuse(_) => Ok(()),
        }
    }

    fn replace(&self, it: &script::Replace) -> Done<()> {
        let wanted = match (&it.find, &it.pattern) {
            (Some(find), None) => Wanted::Literal(self.render(find)?),
            (None, Some(pattern)) => Wanted::Pattern(Regex::new(pattern)?),
            _ => return Err(Halt::error("give either `find` or `pattern`")),
        };
        let path = self.render(&it.path)?;
        let is_found = self.tree.replace(&path, &wanted, &self.render(&it.with)?, it.first)?;
        if is_found || it.optional {
            return Ok(());
        }
        Err(Halt::error(format!("nothing to replace in {path}")))
    }

    fn extract(&mut self, it: &script::Extract) -> Done<()> {
        let pattern = Regex::new(&it.pattern)?;
        let matches = self.tree.extract(&self.render(&it.files)?, &pattern)?;
        if let Some(into) = &it.into {
            let mut lines = String::new();
            for found in &matches {
                match &it.line {
                    Some(line) => lines.push_str(&self.render_for(line, Some(found))?),
                    None => lines.push_str(found.text()),
                }
                lines.push('\n');
            }
            self.tree.append(&self.render(into)?, &lines)?;
        }
        if let Some(name) = &it.name {
            let value = serde_json::to_value(matches).context("listing matches")?;
            self.found.insert(name.clone(), value);
        }
        Ok(())
    }

    async fn run(&self, wished: &Wished) -> Done<()> {
        let argv = match wished {
            Wished::Script(text) => {
                ["bash", "-euo", "pipefail", "-c", text].map(String::from).into()
            }
            Wished::Argv(argv) => {
                let rendered: Done<Vec<String>> = argv.iter().map(|it| self.render(it)).collect();
                rendered?
            }
        };
        let Setting { directory, env, limits, log, .. } = self.setting;
        let program = Program { argv: &argv, dir: &directory.workspace(), env, stdin: None };
        self.inner.programs.execute(&program, limits, log).await?.check()
    }

    async fn wait_for(&self, path: &str) -> Done<()> {
        let is_there = || match Path::new(path) {
            absolute if absolute.is_absolute() => Ok(absolute.exists()),
            _ => self.tree.exists(path),
        };
        let mut looked = is_there();
        self.wait(async {
            while looked == Ok(false) {
                sleep(LOOK_AGAIN).await;
                looked = is_there();
            }
        })
        .await?;
        looked.map(drop)
    }

    /// Waits within the attempt's limits; waiting is silent.
    async fn wait(&self, what: impl Future<Output = ()>) -> Done<()> {
        let limits = self.setting.limits;
        let began = Instant::now();
        limits
            .hold(async {
                tokio::select! {
                    () = what => Ok(()),
                    () = limits.gently.cancelled() => Err(Halt::Released),
                    halt = limits.silence(|| began) => Err(halt),
                }
            })
            .await
    }

    fn test(&self, expression: &str) -> Done<bool> {
        let compiled = self.templates.compile_expression(expression)?;
        let value = compiled.eval(self.names(None))?;
        Ok(value.is_true())
    }

    fn render(&self, text: &str) -> Done<String> {
        self.render_for(text, None)
    }

    fn render_for(&self, text: &str, found: Option<&Match>) -> Done<String> {
        Ok(self.templates.render_str(text, self.names(found))?)
    }

    fn render_value(&self, value: &Value) -> Done<Value> {
        Ok(match value {
            Value::String(text) => Value::String(self.render(text)?),
            Value::Array(items) => {
                let items: Done<Vec<Value>> =
                    items.iter().map(|it| self.render_value(it)).collect();
                Value::Array(items?)
            }
            Value::Object(fields) => {
                let fields: Done<Map<String, Value>> = fields
                    .iter()
                    .map(|(name, it)| Ok((name.clone(), self.render_value(it)?)))
                    .collect();
                Value::Object(fields?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn names(&self, found: Option<&Match>) -> minijinja::Value {
        let Setting { work, attempt, env, .. } = self.setting;
        let env: Map<String, Value> =
            env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        minijinja::Value::from(Serde(json!({
            "env": env,
            "prompt": work.prompt,
            "model": work.model,
            "task": attempt.task,
            "attempt": attempt.fence.attempt,
            "found": self.found,
            "match": found,
        })))
    }
}

impl From<minijinja::Error> for Halt {
    fn from(error: minijinja::Error) -> Self {
        Self::error(format!("{error:#}"))
    }
}

/// Adds where in the script a failure happened, but for the failures that the script wants.
fn said_of(number: usize, step: &Step, halt: Halt) -> Halt {
    match halt {
        Halt::Failed(mut failure)
            if failure.class == ErrorClass::Error && !matches!(step, Step::Fail(_)) =>
        {
            failure.message = format!("step {number} of the script: {}", failure.message);
            Halt::Failed(failure)
        }
        other @ (Halt::Failed(_) | Halt::Released | Halt::Refused { .. } | Halt::Parked) => other,
    }
}
