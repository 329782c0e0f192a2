//! The compiled form of a workflow: what is stored once per version and what creation, decisions
//! and workers read. Strings that may hold `${{ }}` are kept as they were written and rendered by
//! [`crate::expression`]. It does not know YAML (that is [`crate::workflow`]) or rows.
//!
//! **Rows.** Every node of a plan becomes a row of a session, and rows come in *blocks*: the root
//! block holds what exists from the start, and each `for_each` group or loop has a block that is laid
//! down once per item or round, beginning with the item's own row. A node knows its position in its block, so
//! the number of any row is `base of the block + position`; no look-up is needed to find siblings.

mod agent;
mod budgets;
pub mod compile;
mod context;
mod decompose;
mod environment;
mod estimate;
pub mod graph;
mod items;
mod kind;
mod limits;
pub(crate) mod names;
mod node;
mod references;
mod repository;
mod verify;
mod wish;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    agent::{AgentLimits, AgentRuntime, AgentSpec, Permission, PermissionAction},
    context::ContextWrites,
    decompose::{Decompose, PlanSource},
    estimate::Estimate,
    items::{ITEMS_MAX, expand},
    kind::{Approval, Builtin, Child, Command, HttpSpec, Kind, OnReject, OnTimeout},
    limits::{CAPACITY_MAX, Concurrency, LOCKS_MAX, Lock, OnFull, locks},
    references::References,
    repository::is_relative_repo,
    verify::{Expected, Verify},
    wish::Prefers,
};
use crate::{
    budget::Budget, duration::Span, priority::Priority, retry::RetryPolicy, schedule::Rule,
    size::Size,
};

/// The index of a node in [`Plan::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// As the database keeps it.
    pub const fn code(self) -> i32 {
        self.0.cast_signed()
    }
    pub const fn from_code(code: i32) -> Self {
        Self(code.cast_unsigned())
    }
}

/// The index of a block in [`Plan::blocks`]; 0 is the root block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockIndex(pub u32);

impl BlockIndex {
    pub const ROOT: Self = Self(0);
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of the first row of the root block.
pub const ROOT_BASE: i32 = 1;

/// A compiled workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub description: Option<String>,
    #[serde(rename = "type")]
    pub kind: SessionType,
    pub priority: Priority,
    pub timeout: Option<Span>,
    /// How long a session may wait to begin.
    #[serde(default)]
    pub start_timeout: Option<Span>,
    /// How long sessions are kept once they ended, where the workflow says it.
    #[serde(default)]
    pub retention: Option<Span>,
    pub fail_fast: bool,
    pub inputs: Vec<(String, Input)>,
    /// The environment of every command, as in [`Node::env`].
    pub env: Vec<(String, Value)>,
    /// How long what stands under `finally` may take together, where the workflow says it.
    #[serde(default)]
    pub finally_timeout: Option<Span>,
    /// Name and expression of each of the session's outputs, in the order written.
    pub outputs: Vec<(String, Value)>,
    /// What the outputs refer to.
    pub output_references: References,
    pub nodes: Vec<Node>,
    pub blocks: Vec<Block>,
    /// How many sessions run at once, where that is limited.
    #[serde(default)]
    pub concurrency: Option<Concurrency>,
    /// What all tasks of a session may take together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What starts sessions once the workflow was applied.
    #[serde(default)]
    pub schedules: Vec<Trigger>,
}

/// A schedule of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its own among the schedules of the workflow.
    pub name: String,
    pub rule: Rule,
}

#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SessionType {
    Planning,
    #[default]
    Execution,
    Review,
    Debug,
    Integration,
}

impl SessionType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Execution => "execution",
            Self::Review => "review",
            Self::Debug => "debug",
            Self::Integration => "integration",
        }
    }
}

/// A typed input of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    #[serde(rename = "type")]
    pub kind: InputType,
    pub required: bool,
    pub default: Option<Value>,
    pub description: Option<String>,
    /// The only values accepted, where the workflow lists them.
    pub choices: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl InputType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// Rows that are laid down together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The `for_each` group or loop it belongs to; `None` for the root block.
    pub owner: Option<NodeIndex>,
    /// Its nodes by position. In an item's block position 0 is the item's own row, so the first
    /// node has position 1; in the root block the first node has position 0.
    pub nodes: Vec<NodeIndex>,
}

impl Block {
    /// How many rows it takes, the item's own included.
    pub fn rows(&self) -> i32 {
        let nodes = i32::try_from(self.nodes.len()).expect("a plan has at most 10 000 nodes");
        nodes + i32::from(self.owner.is_some())
    }
}

/// A task or group of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    pub title: Option<String>,
    /// The group it stands in.
    pub parent: Option<NodeIndex>,
    pub block: BlockIndex,
    /// Its row in the block: number = base of the block + position.
    pub position: i32,
    /// It stands under `finally`, or in a group there.
    #[serde(default)]
    pub finally: bool,
    /// The task that it undoes. It stands beside that task, in a block of its own.
    #[serde(default)]
    pub compensates: Option<NodeIndex>,
    /// Siblings it waits for, and siblings that wait for it.
    pub needs: Vec<NodeIndex>,
    pub dependents: Vec<NodeIndex>,
    pub join: Join,
    pub when: Option<String>,
    pub kind: Kind,
    /// Sorted, without repetition, those of its groups included.
    pub requires: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefers: Option<Prefers>,
    /// Its own or its group's; `None` takes the session's.
    pub priority: Option<Priority>,
    pub timeout: Option<Span>,
    /// How long it may wait to start once it is ready.
    #[serde(default)]
    pub start_timeout: Option<Span>,
    pub heartbeat: Option<Span>,
    /// How long it is expected to take.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    pub retry: RetryPolicy,
    /// Its own alone: what the workflow and its groups hand down comes before it, in
    /// [`Plan::environment`]. Text may hold `${{ }}`.
    pub env: Vec<(String, Value)>,
    pub workspace: Option<WorkspaceSpec>,
    /// The JSON Schema of what it writes.
    pub outputs: Option<Value>,
    #[serde(default, skip_serializing_if = "Expected::is_empty")]
    pub expected: Expected,
    pub continue_on_failure: bool,
    pub idempotency_key: Option<String>,
    /// What it takes before it does anything; of a `for_each` group each item takes them.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// What it writes into the context of its session once it has completed.
    #[serde(default, skip_serializing_if = "ContextWrites::is_empty")]
    pub context: ContextWrites,
    /// What all its attempts, or all that is in it, may take together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Everything that its templates and its workspace or merge need loaded.
    pub references: References,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    #[default]
    All,
    Any,
    AllDone,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its direct children, in the order written.
    pub children: Vec<NodeIndex>,
    pub for_each: Option<ForEach>,
    #[serde(default)]
    pub rounds: Option<Loop>,
}

impl Group {
    /// The block that is laid down for each of its items or rounds.
    pub fn block(&self) -> Option<BlockIndex> {
        let items = self.for_each.as_ref().map(|each| each.block);
        items.or_else(|| self.rounds.as_ref().map(|rounds| rounds.block))
    }

    /// The name of an item or of the round's number inside.
    pub fn item_name(&self) -> Option<&str> {
        let item = self.for_each.as_ref().map(|each| each.name.as_str());
        item.or_else(|| self.rounds.as_ref().map(|rounds| rounds.name.as_str()))
    }

    /// Its tasks are laid down with it, once.
    pub fn is_plain(&self) -> bool {
        self.block().is_none()
    }
}

/// The rounds of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    /// Looked at when a round has ended: true ends the loop.
    pub until: String,
    pub max_rounds: u32,
    /// The name of the round's number inside.
    pub name: String,
    pub block: BlockIndex,
    /// What `until` refers to.
    pub references: References,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    /// A template that gives a list, or the list itself.
    pub items: Value,
    /// The name of the item inside (`as`).
    pub name: String,
    /// A template that gives an item's key; without it the key is the index.
    pub key: Option<String>,
    pub max_parallel: Option<u32>,
    pub block: BlockIndex,
    /// What the locks of its items refer to.
    #[serde(default)]
    pub lock_references: References,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    pub repo: Option<String>,
    pub base: Option<String>,
    /// The need whose commit the workspace starts at, when several captured one.
    pub from: Option<NodeIndex>,
    pub mode: WorkspaceMode,
    /// Executed before the work begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<Command>,
    /// How much an attempt may put on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    Clone,
    Empty,
}

impl Plan {
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.index()]
    }

    pub fn block(&self, index: BlockIndex) -> &Block {
        &self.blocks[index.index()]
    }

    /// The `for_each` groups and loops around a node, outermost first.
    pub fn enclosing_items(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let mut owners = Vec::new();
        let mut block = self.node(node).block;
        while let Some(owner) = self.block(block).owner {
            owners.push(owner);
            block = self.node(owner).block;
        }
        owners.reverse();
        owners
    }

    /// The key of a task as users read it, `build[api].check`: `items` are the keys of the
    /// enclosing items, outermost first.
    pub fn path(&self, node: NodeIndex, items: &[&str]) -> String {
        let mut names = vec![self.node(node).id.clone()];
        let mut keys = items.iter().rev();
        let mut inner = node;
        while let Some(group) = self.node(inner).parent {
            let id = &self.node(group).id;
            names.push(match self.group(group).and_then(Group::block) {
                Some(_) => format!("{id}[{}]", keys.next().copied().unwrap_or("?")),
                None => id.clone(),
            });
            inner = group;
        }
        names.reverse();
        names.join(".")
    }

    pub fn group(&self, node: NodeIndex) -> Option<&Group> {
        match &self.node(node).kind {
            Kind::Group(group) => Some(group),
            Kind::Run(_)
            | Kind::Agent(_)
            | Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Session(_) => None,
        }
    }

    /// Whether each item of this group takes locks before anything in it runs.
    pub fn locks_items(&self, node: NodeIndex) -> bool {
        let has_items = self.group(node).is_some_and(|group| group.for_each.is_some());
        has_items && !self.node(node).locks.is_empty()
    }

    /// Whether a failure of this node is an allowed one for the session: its own flag or that of a
    /// group around it.
    pub fn is_failure_allowed(&self, node: NodeIndex) -> bool {
        let node = self.node(node);
        node.continue_on_failure
            || node.parent.is_some_and(|parent| self.is_failure_allowed(parent))
    }

    /// The rows at the top of `finally`, in the order written.
    pub fn finally(&self) -> impl Iterator<Item = NodeIndex> {
        let root = self.block(BlockIndex::ROOT).nodes.iter().copied();
        root.filter(|node| self.node(*node).finally && self.node(*node).parent.is_none())
    }

    /// The row of a node of the root block.
    pub fn root_row(&self, node: NodeIndex) -> i32 {
        ROOT_BASE + self.node(node).position
    }

    /// What undoes tasks, each after the task that it undoes.
    pub fn compensations(&self) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
        // They stand after all other nodes.
        let last = self.nodes.iter().enumerate().rev();
        last.map_while(|(index, node)| {
            Some((node.compensates?, NodeIndex(u32::try_from(index).ok()?)))
        })
    }

    /// Whether something may run after the result is decided.
    pub fn has_epilogue(&self) -> bool {
        self.finally().next().is_some() || self.compensations().next().is_some()
    }

    /// Whether any task writes into the context of its session.
    pub fn writes_context(&self) -> bool {
        self.nodes.iter().any(|node| !node.context.is_empty())
    }

    /// Whether something is left to be done when all its tasks have ended.
    pub fn needs_closing(&self) -> bool {
        !self.outputs.is_empty() || self.has_epilogue() || self.writes_context()
    }

    /// How long what stands under `finally` may take together.
    pub fn finally_timeout(&self) -> Span {
        const USUAL: Span = Span { ms: 10 * 60 * 1000 };
        self.finally_timeout.unwrap_or(USUAL)
    }

    /// How many tasks can be executed from the start, groups not counted.
    pub fn executable(&self, block: BlockIndex) -> usize {
        self.block(block).nodes.iter().filter(|node| self.group(**node).is_none()).count()
    }
}

#[cfg(test)]
mod tests;
