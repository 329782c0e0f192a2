//! The reference model: what every task of a flow comes to, computed from the prose of the language
//! by one walk over the file. It knows no rows, counters, events or time, and of the engine nothing
//! but the names of states and reasons.

mod again;
mod ends;
mod epilogue;
mod expect;
mod values;

use jobshop_engine::task::{Reason, TaskState};
use serde_json::{Map, Value, json};

use self::ends::{Policy, Weight, asked, failed_before_it_began, item_of, skipped, spoils, weight};
use self::values::{Sight, keys_of_items, text};
pub use self::{
    again::{Chosen, choose, is_overtaken, kept, mark, share},
    epilogue::{Epilogue, epilogue, unmark},
    expect::{Expected, ExpectedRow, RowKind, Seen, expect, fails_unallowed, overlay},
};
use super::flow::{Child, Coming, Each, Ending, Flow, Items, Join, Kind, Rounds, Task, Uses, Work};

/// Crashes after which a task fails.
const CRASH_LIMIT: u32 = 3;

/// The tasks of one level in the order written, each with what it came to.
pub type Level = Vec<(String, Node)>;

/// What a task or group came to.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing of the task")]
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
    /// It completed, and was undone after that.
    pub undone: bool,
    /// Somebody asked that it runs again.
    pub again: bool,
    /// A fork has it from its origin: it stays, whatever it came to.
    pub shared: bool,
    /// Somebody gave it this end.
    pub by_hand: bool,
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
    /// A loop that has begun: its rounds so far.
    Rounds(Vec<Item>),
}

#[derive(Debug, Clone)]
pub struct Item {
    pub key: String,
    pub value: Value,
    pub state: TaskState,
    /// As of [`Node::shared`].
    pub shared: bool,
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
            undone: false,
            again: false,
            shared: false,
            by_hand: false,
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
        (is_bad && !self.shared)
            || self.undone
            || self.again
            || match &self.inner {
                Inner::Nothing => false,
                Inner::Tasks { tasks, .. } => any_reopened(tasks),
                Inner::Items(items) | Inner::Rounds(items) => items.iter().any(Item::is_reopened),
            }
    }
}

impl Item {
    /// Whether it makes the fan-out or loop around it fail. One that was cancelled stays in it only
    /// where a fork shares it.
    const fn spoils(&self) -> bool {
        matches!(self.state, TaskState::Failed | TaskState::Cancelled)
    }

    fn is_reopened(&self) -> bool {
        let is_bad =
            self.tasks.is_empty() || matches!(self.state, TaskState::Failed | TaskState::Cancelled);
        (is_bad && !self.shared) || any_reopened(&self.tasks)
    }
}

fn any_reopened(tasks: &Level) -> bool {
    tasks.iter().any(|(_, node)| node.is_reopened())
}

/// What becomes of the tasks of a session.
pub fn run(flow: &Flow, round: Round<'_>) -> Level {
    let mut walk = Walk::new(flow, round);
    walk.level(&flow.tasks, "", round.before)
}

/// One pass of a session: the first, or a retry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round<'l> {
    /// What the round before came to.
    pub before: Option<&'l Level>,
    /// The input `number` is 3.
    pub changed: bool,
}

struct Walk<'f> {
    flow: &'f Flow,
    sight: Sight,
    retried: bool,
}

impl<'f> Walk<'f> {
    fn new(flow: &'f Flow, round: Round<'_>) -> Self {
        let sight = Sight { changed: round.changed, ..Sight::default() };
        Self { flow, sight, retried: round.before.is_some() }
    }

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
        let before = before.filter(|node| !node.again);
        match (&task.kind, before.map(|node| &node.inner)) {
            (Kind::Rounds(rounds), Some(Inner::Rounds(done))) if !done.is_empty() => {
                let is_failed = before.is_some_and(|node| node.state == TaskState::Failed);
                return self.rounds(rounds, (&task.id, key), done, is_failed);
            }
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
            Kind::Wait(Coming::Never) => Node::failed("timeout"),
            Kind::Wait(Coming::Early | Coming::Late) => {
                let outputs = Map::from_iter([("of".to_owned(), json!(task.id))]);
                Node { outputs, ..Node::ended(TaskState::Completed) }
            }
            Kind::Ask(verdict) => asked(*verdict),
            Kind::Child(child) => self.child(child),
            Kind::Rounds(rounds) => self.rounds(rounds, (&task.id, key), &[], false),
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

    fn child(&self, child: &Child) -> Node {
        // Neither would end otherwise if it was tried again.
        let misfit = || Node { failures: 1, ..Node::failed("template") };
        let Ok(value) = self.sight.value(&child.with) else { return misfit() };
        let policy = Policy::of(child.retry.as_ref());
        match child.uses {
            Uses::Misfit => misfit(),
            Uses::Bad => {
                let failures = if policy.covers("error") { policy.max_attempts } else { 1 };
                Node { failures, ..Node::failed("error") }
            }
            Uses::Good | Uses::Mixed | Uses::Nested => {
                let outputs =
                    Map::from_iter([("text".to_owned(), json!(format!("v={}", text(&value))))]);
                Node { outputs, ..Node::ended(TaskState::Completed) }
            }
        }
    }

    /// Runs round after round, as far as they are not done, until the condition holds.
    fn rounds(
        &mut self,
        rounds: &Rounds,
        (id, key): (&str, &str),
        before: &[Item],
        is_failed: bool,
    ) -> Node {
        // It came to its end without success although nothing in it failed.
        let is_at_its_end = is_failed && !before.iter().any(Item::is_reopened);
        let mut done: Vec<Item> = Vec::new();
        let end = loop {
            let number = done.len() + 1;
            let earlier = before.get(number - 1);
            let is_last = number >= before.len();
            let runs_anew = is_at_its_end && is_last;
            let round = match earlier {
                Some(round) if !round.is_reopened() && !runs_anew => round.clone(),
                _ => {
                    let before = earlier.filter(|_| !runs_anew).map(|round| &round.tasks);
                    self.look_into(id, (rounds, number), &done);
                    let prefix = format!("{key}[{number}].");
                    let tasks = self.level(&rounds.tasks, &prefix, before);
                    self.look_away();
                    item_of(number.to_string(), json!(number), &rounds.tasks, tasks)
                }
            };
            done.push(round);
            if !is_last {
                continue;
            }
            if done.iter().any(Item::spoils) {
                break Node::ended(TaskState::Failed);
            }
            self.look_into(id, (rounds, number), &done);
            self.sight.levels.push(done[number - 1].tasks.clone());
            let holds = self.sight.holds(&rounds.until);
            self.sight.levels.pop();
            self.look_away();
            match holds {
                Ok(true) => break Node::ended(TaskState::Completed),
                Ok(false) if number < usize::from(rounds.most) => {}
                Ok(false) => break Node::failed("max_rounds"),
                Err(_) => break Node::failed("template"),
            }
        };
        Node { inner: Inner::Rounds(done), ..end }
    }

    /// Lets a loop be seen from inside, with the rounds that have ended.
    fn look_into(&mut self, id: &str, (rounds, number): (&Rounds, usize), done: &[Item]) {
        let node = Node { inner: Inner::Rounds(done.to_vec()), ..Node::ended(TaskState::Blocked) };
        self.sight.current().push((id.to_owned(), node));
        self.sight.items.push((rounds.name.clone(), json!(number)));
    }

    fn look_away(&mut self) {
        self.sight.items.pop();
        self.sight.current().pop();
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
            shared: false,
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
            *item = item_of(item.key.clone(), item.value.clone(), &each.tasks, tasks);
        }
        let is_spoilt = items.iter().any(Item::spoils);
        let state = if is_spoilt { TaskState::Failed } else { TaskState::Completed };
        Node { inner: Inner::Items(items), ..Node::ended(state) }
    }
}
