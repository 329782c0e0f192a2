//! A workflow as it is written: the types of the YAML language. The JSON Schema comes from them,
//! the readers beside them fill them. Whether names and needs make sense is decided when a plan is
//! compiled from them.

mod agent;
mod artifacts;
mod budget;
mod compensate;
mod decompose;
mod limits;
mod people;
mod prefers;
mod triggers;
mod verify;

use std::{borrow::Cow, ops::Range, rc::Rc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

pub use self::{
    agent::{Agent, Conversation},
    artifacts::Artifacts,
    budget::{Amounts, Budget, Reserve},
    compensate::{Compensate, CompensateKeys},
    decompose::{Approve, Decompose},
    limits::{Concurrency, Lock, Locks},
    people::Approval,
    prefers::Prefers,
    triggers::{Trigger, Triggers, Zone},
    verify::{OnVerifyFail, Setup, Verify},
};
use super::tree::Tree;
use crate::{
    duration::Span,
    outcome::ErrorClass,
    plan::{InputType, Join, SessionType, WorkspaceMode},
    priority::Priority,
    retry::Backoff,
    size::Size,
};

/// A value and the byte offset at which it stands.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub at: usize,
    pub value: T,
}

/// A map whose keys are names that the author chose, in the order written.
#[derive(Debug)]
pub struct Entries<T>(pub Vec<(At<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Text that may hold `${{ }}`.
#[derive(Debug, Clone)]
pub struct Text {
    pub text: String,
    /// Where it stands in the source, quotes included.
    pub raw: Range<usize>,
}

/// Any value; every text in it may hold `${{ }}`.
#[derive(Debug, Clone)]
pub struct Any(pub Rc<Tree>);

/// What the id of a task looks like.
const TASK_ID: &str = "^[a-z][a-z0-9_-]{0,63}$";

/// A durable workflow of coding tasks.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Workflow", deny_unknown_fields)]
pub struct Workflow {
    /// The version of the language: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// The name under which the workflow is known.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,63}$"))]
    pub name: At<String>,
    /// What it is for.
    #[schemars(default)]
    pub description: Option<String>,
    #[schemars(rename = "type", default)]
    pub kind: SessionType,
    #[schemars(default)]
    pub priority: Priority,
    /// How long a whole session may take, from its first start.
    #[schemars(default)]
    pub timeout: Option<Span>,
    /// How long a session may wait to begin, from the moment it was let go.
    #[schemars(default)]
    pub start_timeout: Option<Span>,
    /// How long a session is kept once it ended; then it is archived.
    #[schemars(default)]
    pub retention: Option<Span>,
    /// Whether the first unallowed failure cancels the rest.
    #[schemars(default)]
    pub fail_fast: bool,
    /// What a session is started with.
    #[schemars(default)]
    pub inputs: Entries<Input>,
    /// The environment of every command. Values may hold `${{ }}`.
    #[schemars(default)]
    pub env: Entries<Any>,
    #[schemars(default)]
    pub workspace: Option<Workspace>,
    #[schemars(default)]
    pub defaults: Defaults,
    /// The tasks by their ids.
    #[schemars(extend("minProperties" = 1, "propertyNames" = { "pattern": TASK_ID }))]
    pub tasks: At<Entries<Task>>,
    /// Tasks that run once the result is decided, whatever it is, unless the session is cancelled.
    #[schemars(default, extend("minProperties" = 1, "propertyNames" = { "pattern": TASK_ID }))]
    pub finally: Option<At<Entries<Task>>>,
    /// How long the tasks under `finally` may take together; 10m unless given.
    #[schemars(default)]
    pub finally_timeout: Option<Span>,
    /// The outputs of a session. Values may hold `${{ }}`.
    #[schemars(default)]
    pub outputs: Entries<Any>,
    #[schemars(default)]
    pub triggers: Triggers,
    /// How many sessions run at once.
    #[schemars(default)]
    pub concurrency: Option<At<Concurrency>>,
    /// What all tasks of a session may take together, those of its child sessions included.
    #[schemars(default)]
    pub budget: Option<At<Budget>>,
}

/// An input of a workflow.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Input", deny_unknown_fields)]
pub struct Input {
    #[schemars(rename = "type", default = "string_type")]
    pub kind: InputType,
    /// Whether a session must be given a value.
    #[schemars(default)]
    pub required: bool,
    /// The value when none is given.
    #[schemars(default)]
    pub default: Option<Any>,
    #[schemars(default)]
    pub description: Option<String>,
    /// The only values accepted.
    #[schemars(rename = "enum", default)]
    pub choices: Option<Vec<Any>>,
}

const fn string_type() -> InputType {
    InputType::String
}

/// What run, agent and builtin tasks take when they do not say it themselves.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Defaults", deny_unknown_fields)]
pub struct Defaults {
    #[schemars(default)]
    pub timeout: Option<Span>,
    #[schemars(default)]
    pub retry: Option<Retry>,
}

/// When a failed attempt is followed by another. Without it there is one attempt.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(rename = "Retry", deny_unknown_fields)]
pub struct Retry {
    /// All attempts together, the first included; 3 unless given.
    #[schemars(range(min = 1, max = 1_000), default)]
    pub max_attempts: Option<i32>,
    /// How the delay grows; exponential unless given.
    #[schemars(default)]
    pub backoff: Option<Backoff>,
    /// The first delay; 1s unless given.
    #[schemars(default)]
    pub initial: Option<Span>,
    /// The longest delay; 5m unless given.
    #[schemars(default)]
    pub max: Option<Span>,
    /// The fraction by which a delay is moved up or down; 0.2 unless given.
    #[schemars(range(min = 0, max = 1), default)]
    pub jitter: Option<f64>,
    /// The classes of errors that are tried again; error and timeout unless given.
    #[schemars(default)]
    pub errors: Option<Vec<ErrorClass>>,
}

/// The directory that commands and agents start in.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Workspace", deny_unknown_fields)]
pub struct Workspace {
    /// The repository that is cloned: a path or a URL.
    #[schemars(default)]
    pub repo: Option<Text>,
    /// The branch, tag or commit to start at.
    #[schemars(default)]
    pub base: Option<Text>,
    /// The task whose commit to start at, when several needs captured one.
    #[schemars(default)]
    pub from: Option<At<String>>,
    /// A private clone, or an empty directory although there is a repository.
    #[schemars(default)]
    pub mode: Option<At<WorkspaceMode>>,
    /// What is executed in it before the work begins: a script, or a list of commands.
    #[schemars(default)]
    pub setup: Option<Setup>,
    /// How much an attempt may put on the disk.
    #[schemars(default)]
    pub quota: Option<At<Size>>,
}

/// A task, or a group of tasks. It has exactly one kind: run, agent, uses, decompose, sleep, approval,
/// `wait_for` or tasks.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Task", deny_unknown_fields)]
pub struct Task {
    /// How it is shown.
    #[schemars(default)]
    pub title: Option<String>,
    /// The tasks beside it that must end first.
    #[schemars(default)]
    pub needs: Vec<At<String>>,
    /// An expression: false skips the task.
    #[schemars(default)]
    pub when: Option<Condition>,
    /// Which ends of its needs let it run.
    #[schemars(default)]
    pub join: Join,
    /// Capabilities; one agent must offer all of them.
    #[schemars(default)]
    pub requires: Vec<At<String>>,
    #[schemars(default)]
    pub prefers: Option<Prefers>,
    #[schemars(default)]
    pub priority: Option<Priority>,
    /// How long an attempt may take; a group, an approval or a signal, from the end of its needs.
    #[schemars(default)]
    pub timeout: Option<Span>,
    /// How long it may wait to start once it is ready.
    #[schemars(default)]
    pub start_timeout: Option<Span>,
    /// How long an attempt may stay silent.
    #[schemars(default)]
    pub heartbeat: Option<Span>,
    /// How long it is expected to take; nothing but a simulation looks at it.
    #[schemars(default)]
    pub estimate: Option<Estimate>,
    #[schemars(default)]
    pub retry: Option<Retry>,
    /// Added to the environment of its commands. Values may hold `${{ }}`.
    #[schemars(default)]
    pub env: Entries<Any>,
    #[schemars(default)]
    pub workspace: Option<Workspace>,
    /// The JSON Schema of what it writes; a mismatch fails the attempt.
    #[schemars(default)]
    pub outputs: Option<OutputSchema>,
    /// What has to succeed in a clean checkout of its commit: a script, or a list of commands.
    #[schemars(default)]
    pub verify: Option<Verify>,
    /// What happens when that fails: the agent gets more turns.
    #[schemars(default)]
    pub on_verify_fail: Option<At<OnVerifyFail>>,
    /// Whether an agent in a repository may end without changing anything; true for one that has
    /// `outputs`, unless given.
    #[schemars(default)]
    pub allow_empty: Option<bool>,
    /// Files of its workspace that are kept when an attempt ends: paths, folders or patterns. They may
    /// hold `${{ }}`.
    #[schemars(default)]
    pub artifacts: Option<Artifacts>,
    /// Whether a failure of it is an allowed one.
    #[schemars(default)]
    pub continue_on_failure: bool,
    /// Handed to every attempt instead of `session/task`.
    #[schemars(default)]
    pub idempotency_key: Option<Text>,
    /// A shell script (text) or a command with its arguments (a list).
    #[schemars(default)]
    pub run: Option<At<Run>>,
    /// A coding agent's turn.
    #[schemars(default)]
    pub agent: Option<At<Agent>>,
    /// A task that Jobshop brings along, builtin/NAME, or another workflow as a session of its own:
    /// NAME or NAME@VERSION.
    #[schemars(default)]
    pub uses: Option<At<String>>,
    /// What the task under `uses` is given.
    #[schemars(default)]
    pub with: Option<Entries<Any>>,
    /// A durable timer: a duration.
    #[schemars(default)]
    pub sleep: Option<Timer>,
    /// People are asked.
    #[schemars(default)]
    pub approval: Option<At<Approval>>,
    /// The name of a signal that has to come.
    #[schemars(default)]
    pub wait_for: Option<WaitFor>,
    /// Undoes what the task did, when the session fails or is stopped after the task completed.
    #[schemars(default)]
    pub compensate: Option<Compensate>,
    /// What it takes before it does anything, and keeps until it has ended; of a `for_each` group
    /// each item takes it.
    #[schemars(rename = "lock", with = "Locks", default)]
    pub locks: Vec<At<Lock>>,
    /// What it writes into the context of the session once it has completed: places with their
    /// values. Both may hold `${{ }}`, which sees the `outputs` of the task.
    #[schemars(default)]
    pub context: Option<Entries<Any>>,
    /// What all attempts of the task, or all that is in the group, may take together.
    #[schemars(default)]
    pub budget: Option<At<Budget>>,
    /// A goal that is broken down into subtasks, which are done as a session of their own.
    #[schemars(default)]
    pub decompose: Option<At<Decompose>>,
    /// Files that it may change: paths, folders or patterns. A change elsewhere is a finding, told
    /// with the task.
    #[schemars(default)]
    pub paths: Vec<At<String>>,
    /// The tasks of a group.
    #[schemars(default, extend("minProperties" = 1, "propertyNames" = { "pattern": TASK_ID }))]
    pub tasks: Option<At<Entries<Task>>>,
    /// A list, or an expression that gives one: the group's tasks run once per item.
    #[schemars(default)]
    pub for_each: Option<Any>,
    /// The group's tasks run again and again, a round after the other.
    #[schemars(rename = "loop", default)]
    pub rounds: Option<At<Loop>>,
    /// The name of the item in the group, `item` unless given; of the round's number in a loop,
    /// `round` unless given.
    #[schemars(rename = "as", default)]
    pub item_name: Option<At<String>>,
    /// The identity of an item; its index unless given.
    #[schemars(default)]
    pub key: Option<Text>,
    /// How many items run at once.
    #[schemars(range(min = 1), default)]
    pub max_parallel: Option<At<u32>>,
    /// The keys of kinds that were written.
    #[schemars(skip)]
    pub kinds: Vec<At<String>>,
    /// Whether something in it was refused.
    #[schemars(skip)]
    pub is_broken: bool,
    /// Whether its needs were written in a way that cannot be read.
    #[schemars(skip)]
    pub has_broken_needs: bool,
}

/// How long a task is expected to take.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(rename = "Estimate", deny_unknown_fields)]
pub struct Estimate {
    /// When everything goes well.
    pub optimistic: Span,
    /// Mostly.
    pub likely: Span,
    /// When everything goes wrong.
    pub pessimistic: Span,
}

/// How long the tasks of a group are repeated.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Loop", deny_unknown_fields)]
pub struct Loop {
    /// An expression, looked at after each round: true ends the loop.
    pub until: Condition,
    /// How many rounds there are at most; then the group fails.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_rounds: u32,
}

/// What a `run` task executes.
#[derive(Debug)]
pub enum Run {
    Script(Text),
    Argv(Vec<Text>),
}

/// A `when`.
#[derive(Debug, Clone)]
pub struct Condition(pub Text);

/// The duration of a `sleep`, or a template that gives one.
#[derive(Debug, Clone)]
pub struct Timer(pub Text);

/// The name of a signal, or a template that gives one.
#[derive(Debug, Clone)]
pub struct WaitFor(pub Text);

/// The JSON Schema of a task's outputs.
#[derive(Debug, Clone)]
pub struct OutputSchema(pub serde_json::Value);

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// Implements the schema of a type that is written in place wherever it is used.
macro_rules! inline_schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

inline_schema!(Text, "Text", { "type": "string" });
inline_schema!(Timer, "Timer", { "type": "string" });
inline_schema!(Any, "Any", {});
inline_schema!(WaitFor, "WaitFor", {
    "oneOf": [
        { "type": "string" },
        {
            "type": "object",
            "properties": { "signal": { "type": "string" } },
            "required": ["signal"],
            "additionalProperties": false,
        },
    ]
});
inline_schema!(Conversation, "Conversation", {
    "type": "string", "pattern": "^(fresh|continue:[a-z][a-z0-9_-]{0,63})$",
});
inline_schema!(Condition, "Condition", { "type": ["string", "boolean"] });
inline_schema!(OutputSchema, "OutputSchema", { "type": ["object", "boolean"] });
inline_schema!(Run, "Run", {
    "oneOf": [
        { "type": ["string", "number", "boolean"] },
        { "type": "array", "minItems": 1, "items": { "type": ["string", "number", "boolean"] } },
    ]
});
