//! The reference model: what every task of a flow comes to, computed from the prose of the language
//! by one walk over the file. It knows no rows, counters, events or time, and of the engine nothing
//! but the names of states and reasons.

mod expect;
mod values;

use jobshop_engine::task::{Reason, TaskState};
use serde_json::{Map, Value, json};

pub use self::expect::{Expected, ExpectedRow, RowKind, Seen, expect, overlay};
use self::values::{Sight, keys_of_items, text};
use super::flow::{Each, Ending, Flow, Items, Join, Kind, Retry, Task, Verdict, Work};

/// Crashes after which a task fails.
const CRASH_LIMIT: u32 = 3;

/// The tasks of one level in the order written, each with what it came to.
pub type Level = Vec<(String, Node)>;

/// What a task or group came to.
#[derive(Debug, Clone)]
pub struct Node {
    pub state: TaskState,
    pub reason: Option<Reason>,
    /// The class of its failure, where the language says which.
    pub class: Option<&'static str>,
    pub outputs: Map<String, Value>,
    pub failures: u32,
    pub crashes: u32,
    /// What its attempts find in `$SEEN`.
    pub seen: Option<String>,
    pub inner: Inner,
}

#[derive(Debug, Clone)]
pub enum Inner {
    Nothing,
    /// A plain group; `begun` unless it was skipped or failed before anything in it could start.
    Tasks {
        begun: bool,
        tasks: Level,
    },
    /// A `for_each` group that has begun.
    Items(Vec<Item>),
}

#[derive(Debug, Clone)]
pub struct Item {
    pub key: String,
    pub value: Value,
    pub state: TaskState,
    /// Empty when it was never laid down.
    pub tasks: Level,
}

impl Node {
    fn ended(state: TaskState) -> Self {
        Self {
            state,
            reason: None,
            class: None,
            outputs: Map::new(),
            failures: 0,
            crashes: 0,
            seen: None,
            inner: Inner::Nothing,
        }
    }

    fn failed(class: &'static str) -> Self {
        Self { class: Some(class), ..Self::ended(TaskState::Failed) }
    }

    /// A retry of the session opens it again.
    pub fn is_reopened(&self) -> bool {
        let is_bad = matches!(self.state, TaskState::Failed | TaskState::Cancelled)
            || self.reason == Some(Reason::UpstreamFailed);
        is_bad
            || match &self.inner {
                Inner::Nothing => false,
                Inner::Tasks { tasks, .. } => any_reopened(tasks),
                Inner::Items(items) => items.iter().any(Item::is_reopened),
            }
    }
}

impl Item {
    fn is_reopened(&self) -> bool {
        self.tasks.is_empty()
            || matches!(self.state, TaskState::Failed | TaskState::Cancelled)
            || any_reopened(&self.tasks)
    }
}

fn any_reopened(tasks: &Level) -> bool {
    tasks.iter().any(|(_, node)| node.is_reopened())
}

/// How a need weighs on what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It completed, or its failure is allowed: dependents treat it as completed.
    Good,
    Bad,
    /// Skipped by its own `when`, or because no need of its own completed.
    Neutral,
}

fn weight(task: &Task, node: &Node) -> Weight {
    match (node.state, node.reason) {
        (TaskState::Completed, _) => Weight::Good,
        (TaskState::Failed, _) if task.continue_on_failure => Weight::Good,
        (TaskState::Skipped, Some(Reason::When | Reason::NoNeedCompleted)) => Weight::Neutral,
        _ => Weight::Bad,
    }
}

/// Whether a task makes the group or item around it fail.
fn spoils(task: &Task, node: &Node) -> bool {
    (node.state == TaskState::Failed && !task.continue_on_failure)
        || node.state == TaskState::Cancelled
}

/// What becomes of a session; `before` is what an earlier round of it came to.
pub fn run(flow: &Flow, before: Option<&Level>) -> Level {
    let mut walk = Walk { flow, sight: Sight::default(), retried: before.is_some() };
    walk.level(&flow.tasks, "", before)
}

/// Whether a retry would let a task go on at once, because its needs are done, while something that
/// those needed runs again: what it then sees depends on who is faster.
pub fn is_overtaken_by_a_retry(flow: &Flow) -> bool {
    overtakes(&flow.tasks, &run(flow, None))
}

fn overtakes(tasks: &[Task], level: &Level) -> bool {
    let node = |id: &String| level.iter().find(|(other, _)| other == id).map(|(_, node)| node);
    let is_reopened = |id: &String| node(id).is_some_and(Node::is_reopened);
    let mut behind: Vec<&String> = Vec::new();
    for task in tasks {
        // Tasks stand behind what they need.
        let is_behind = |need: &String| behind.contains(&need);
        if is_reopened(&task.id) {
            if task.needs.iter().any(is_behind) {
                return true;
            }
        } else if task.needs.iter().any(|need| is_reopened(need) || is_behind(need)) {
            behind.push(&task.id);
        }
        let inner = match (&task.kind, node(&task.id).map(|node| &node.inner)) {
            (Kind::Group(inner), Some(Inner::Tasks { tasks, .. })) => overtakes(inner, tasks),
            (Kind::Each(each), Some(Inner::Items(items))) => {
                items.iter().any(|item| overtakes(&each.tasks, &item.tasks))
            }
            _ => false,
        };
        if inner {
            return true;
        }
    }
    false
}

struct Walk<'f> {
    flow: &'f Flow,
    sight: Sight,
    retried: bool,
}

impl Walk<'_> {
    fn level(&mut self, tasks: &[Task], prefix: &str, before: Option<&Level>) -> Level {
        self.sight.levels.push(Level::new());
        for task in tasks {
            let key = format!("{prefix}{}", task.id);
            let before = before.and_then(|level| level.iter().find(|(id, _)| *id == task.id));
            let node = match before {
                Some((_, done)) if !done.is_reopened() => done.clone(),
                _ => self.task(tasks, task, &key, before.map(|(_, node)| node)),
            };
            self.sight.current().push((task.id.clone(), node));
        }
        self.sight.levels.pop().expect("it was pushed above")
    }

    fn task(&mut self, level: &[Task], task: &Task, key: &str, before: Option<&Node>) -> Node {
        match (&task.kind, before.map(|node| &node.inner)) {
            (Kind::Group(inner), Some(Inner::Tasks { begun: true, tasks: before })) => {
                return self.group(inner, key, Some(before));
            }
            (Kind::Each(each), Some(Inner::Items(items))) => {
                return self.items(each, key, items.clone());
            }
            _ => {}
        }
        if let Some(reason) = self.refusal(level, task) {
            return skipped(task, reason);
        }
        match task.when.as_ref().map_or(Ok(true), |when| self.sight.holds(when)) {
            Ok(true) => {}
            Ok(false) => return skipped(task, Reason::When),
            Err(_) => return failed_before_it_began(task),
        }
        match &task.kind {
            Kind::Work(work) => self.work(work, key),
            Kind::Sleep(_) => Node::ended(TaskState::Completed),
            Kind::Wait(_) => {
                let outputs = Map::from_iter([("of".to_owned(), json!(task.id))]);
                Node { outputs, ..Node::ended(TaskState::Completed) }
            }
            Kind::Ask(Verdict::Rejected) => Node::failed("rejected"),
            Kind::Ask(verdict) => {
                let word = if *verdict == Verdict::Approved { "approve" } else { "reject" };
                let outputs =
                    [("decision", json!(word)), ("by", json!("p")), ("comment", Value::Null)];
                let outputs =
                    outputs.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
                Node { outputs, ..Node::ended(TaskState::Completed) }
            }
            Kind::Group(inner) => self.group(inner, key, None),
            Kind::Each(each) => self.each(each, key),
        }
    }

    /// Why the ends of its needs do not let a task run.
    fn refusal(&self, level: &[Task], task: &Task) -> Option<Reason> {
        let weights: Vec<Weight> = task
            .needs
            .iter()
            .filter_map(|need| {
                let spec = level.iter().find(|other| other.id == *need)?;
                Some(weight(spec, self.sight.find(need)?))
            })
            .collect();
        let any_bad = weights.contains(&Weight::Bad);
        match task.join {
            Join::AllDone => None,
            Join::All => any_bad.then_some(Reason::UpstreamFailed),
            Join::Any if weights.is_empty() || weights.contains(&Weight::Good) => None,
            Join::Any if any_bad => Some(Reason::UpstreamFailed),
            Join::Any => Some(Reason::NoNeedCompleted),
        }
    }

    fn work(&self, work: &Work, key: &str) -> Node {
        let seen = match work.env.as_ref().map(|term| self.sight.value(term)) {
            None => None,
            Some(Ok(value)) => Some(text(&value)),
            // Nothing is tried twice because of a template.
            Some(Err(_)) => return Node { failures: 1, ..Node::failed("template") },
        };
        let policy = Policy::of(work.retry.as_ref().or(self.flow.retry.as_ref()));
        let endings = work.endings_of(key, self.retried);
        let mut node = Node { seen, ..Node::ended(TaskState::Completed) };
        for ending in endings.iter().chain(std::iter::repeat(&endings[endings.len() - 1])) {
            match ending {
                Ending::Succeeds(output) => {
                    node.outputs = output.json();
                    break;
                }
                Ending::Fails(class) => {
                    node.failures += 1;
                    if node.failures >= policy.max_attempts || !policy.covers(class.as_str()) {
                        node.state = TaskState::Failed;
                        node.class = Some(class.as_str());
                        break;
                    }
                }
                Ending::Crashes => {
                    node.crashes += 1;
                    if node.crashes == CRASH_LIMIT {
                        node.state = TaskState::Failed;
                        node.class = Some("crash");
                        break;
                    }
                }
            }
        }
        node
    }

    fn group(&mut self, inner: &[Task], key: &str, before: Option<&Level>) -> Node {
        let tasks = self.level(inner, &format!("{key}."), before);
        let is_spoilt = inner.iter().zip(&tasks).any(|(task, (_, node))| spoils(task, node));
        let state = if is_spoilt { TaskState::Failed } else { TaskState::Completed };
        Node { inner: Inner::Tasks { begun: true, tasks }, ..Node::ended(state) }
    }

    fn each(&mut self, each: &Each, key: &str) -> Node {
        let list = match &each.items {
            Items::List(list) => Ok(Value::Array(list.clone())),
            Items::Given(term) => self.sight.value(term),
        };
        let Ok(Value::Array(list)) = list else { return Node::failed("template") };
        let keys = match keys_of_items(each.key, &list) {
            Ok(keys) => keys,
            Err(class) => return Node::failed(class),
        };
        let items = keys.into_iter().zip(list).map(|(key, value)| Item {
            key,
            value,
            state: TaskState::Pending,
            tasks: Level::new(),
        });
        self.items(each, key, items.collect())
    }

    /// Runs the items, as far as they are not done.
    fn items(&mut self, each: &Each, key: &str, mut items: Vec<Item>) -> Node {
        for item in &mut items {
            if item.state.is_final() && !item.is_reopened() {
                continue;
            }
            self.sight.items.push((each.name.clone(), item.value.clone()));
            let before = (!item.tasks.is_empty()).then_some(&item.tasks);
            let tasks = self.level(&each.tasks, &format!("{key}[{}].", item.key), before);
            self.sight.items.pop();
            let is_spoilt =
                each.tasks.iter().zip(&tasks).any(|(task, (_, node))| spoils(task, node));
            item.state = if is_spoilt {
                TaskState::Failed
            } else if tasks.iter().all(|(_, node)| node.state == TaskState::Skipped) {
                TaskState::Skipped
            } else {
                TaskState::Completed
            };
            item.tasks = tasks;
        }
        let is_spoilt = items.iter().any(|item| item.state == TaskState::Failed);
        let state = if is_spoilt { TaskState::Failed } else { TaskState::Completed };
        Node { inner: Inner::Items(items), ..Node::ended(state) }
    }
}

/// A task that is skipped, and with it what stands in it.
fn skipped(task: &Task, reason: Reason) -> Node {
    Node { reason: Some(reason), ..unbegun(task, TaskState::Skipped, reason) }
}

/// A condition that cannot be decided fails the task; what stands in it never runs.
fn failed_before_it_began(task: &Task) -> Node {
    Node { class: Some("template"), ..unbegun(task, TaskState::Failed, Reason::UpstreamFailed) }
}

fn unbegun(task: &Task, state: TaskState, inside: Reason) -> Node {
    let inner = match &task.kind {
        Kind::Group(inner) => Inner::Tasks {
            begun: false,
            tasks: inner.iter().map(|task| (task.id.clone(), skipped(task, inside))).collect(),
        },
        Kind::Work(_) | Kind::Sleep(_) | Kind::Ask(_) | Kind::Wait(_) | Kind::Each(_) => {
            Inner::Nothing
        }
    };
    Node { inner, ..Node::ended(state) }
}

/// How often a task is tried.
struct Policy {
    max_attempts: u32,
    errors: Vec<&'static str>,
}

impl Policy {
    fn of(retry: Option<&Retry>) -> Self {
        let Some(retry) = retry else { return Self { max_attempts: 1, errors: Vec::new() } };
        let errors = match &retry.errors {
            None => vec!["error", "timeout"],
            Some(errors) => errors.iter().map(|class| class.as_str()).collect(),
        };
        Self { max_attempts: retry.max_attempts.unwrap_or(3).into(), errors }
    }

    fn covers(&self, class: &str) -> bool {
        match class {
            "template" | "rejected" | "too_large" => false,
            // A mismatch with the schema is an error of the command.
            "schema" => self.errors.contains(&"schema") || self.errors.contains(&"error"),
            _ => self.errors.contains(&class),
        }
    }
}
