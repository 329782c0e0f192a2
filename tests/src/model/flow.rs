//! A workflow as the flow test thinks of it: what is written in the file, and beside it what the
//! attempts of each task will come to. It decides nothing.

use serde_json::{Map, Value, json};

pub use super::uses::Uses;
use super::{
    lock::Lock,
    terms::{Term, When},
};

/// A workflow, and what is done to its session.
#[derive(Debug, Clone)]
pub struct Flow {
    pub tasks: Vec<Task>,
    pub finally: Vec<Task>,
    pub fail_fast: bool,
    /// `defaults.retry`.
    pub retry: Option<Retry>,
    /// The session's outputs, `o0`, `o1`, …
    pub outputs: Vec<Term>,
    pub steering: Steering,
}

/// What people do to the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    /// So often somebody pauses it or something in it; whoever did resumes it soon.
    pub pauses: u8,
    /// Somebody ends it after so many finishes of its attempts.
    pub end: Option<(End, usize)>,
    /// It is retried like this, one after the other, whenever it has ended and can be.
    pub retries: Vec<Again>,
    /// At last it is forked at a task, group or item's task that stands in no loop.
    pub fork: Option<usize>,
}

/// How a person ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Cancel,
    Stop,
    Complete,
    Fail,
}

/// What a person asks of a retry. The numbers choose among what there is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// What ended badly.
    Plain,
    /// `--from`, any task, group or item's task that stands in no loop.
    From(usize),
    /// `--from`, a fan-out at the top, `--items failed`.
    FailedItems(usize),
    /// `--skip`, a task at the top that did not complete.
    Skip(usize),
    /// `--set-output`, a command at the top.
    Output(usize),
    /// `-i number=3`, where the workflow has this input.
    Inputs,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub needs: Vec<String>,
    pub join: Join,
    pub when: Option<When>,
    pub continue_on_failure: bool,
    pub kind: Kind,
    pub locks: Vec<Lock>,
    /// What undoes it.
    pub compensate: Option<Work>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    All,
    Any,
    AllDone,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Whatever a worker attempts: [`By`] tells what it is.
    Work(Work),
    /// So many milliseconds; 3 is an hour.
    Sleep(u8),
    /// An approval, and what somebody will say.
    Ask(Verdict),
    /// A wait for a signal, which comes before or after the wait begins, or never.
    Wait(Coming),
    /// A session of its own.
    Child(Child),
    Group(Vec<Task>),
    Each(Each),
    Rounds(Rounds),
}

/// A task that is another workflow.
#[derive(Debug, Clone)]
pub struct Child {
    pub uses: Uses,
    /// Its input `text`, in a string.
    pub with: Term,
    pub retry: Option<Retry>,
}

/// A group with `loop`.
#[derive(Debug, Clone)]
pub struct Rounds {
    pub until: When,
    pub most: u8,
    /// What the number of the round is called inside.
    pub name: String,
    pub tasks: Vec<Task>,
}

/// What becomes of an approval. Its message says it, so that whoever votes knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Approved,
    Rejected,
    /// Rejected, and the workflow says `on_reject: continue`.
    Overruled,
    /// Nobody says anything for an hour, `on_timeout: approve`.
    ApprovedInSilence,
    /// Nobody says anything for an hour, and for another one after it was escalated.
    RejectedInSilence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    Early,
    Late,
    /// It is waited for an hour.
    Never,
}

/// A `for_each` group.
#[derive(Debug, Clone)]
pub struct Each {
    pub items: Items,
    /// What the item is called inside.
    pub name: String,
    pub key: KeyRule,
    pub max_parallel: Option<u8>,
    pub tasks: Vec<Task>,
}

#[derive(Debug, Clone)]
pub enum Items {
    List(Vec<Value>),
    /// `${{ … }}`, which may give something else than a list.
    Given(Term),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    /// No `key`: the index.
    Index,
    /// `${{ item }}`.
    Item,
    /// `k-${{ item }}`.
    Prefixed,
}

/// What an attempt is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A command, or `builtin/noop` or `builtin/fail` where the endings allow that.
    Command,
    Agent,
    /// `builtin/http`, whose outputs nobody looks at.
    Request,
}

#[derive(Debug, Clone)]
pub struct Work {
    pub by: By,
    pub retry: Option<Retry>,
    /// What the variable `SEEN` of its environment holds.
    pub env: Option<Term>,
    /// What its attempts come to, one after the other; the last one goes for all that follow. Of
    /// several lists, each instance of the task has one: [`Work::endings_of`].
    pub endings: Vec<Vec<Ending>>,
    /// The same after a retry of the session.
    pub again: Vec<Ending>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Succeeds(Output),
    Fails(Class),
    /// Its worker is lost after the start was reported.
    Crashes,
}

/// What a successful attempt writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub n: Option<u8>,
    pub list: Option<Vec<Value>>,
    /// More than a row holds.
    pub large: bool,
}

/// Classes of errors that an attempt may end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Error,
    Timeout,
    Schema,
    Template,
    TooLarge,
}

#[derive(Debug, Clone)]
pub struct Retry {
    pub max_attempts: Option<u8>,
    pub errors: Option<Vec<Class>>,
}

/// The inputs that expressions may name, with their values.
pub const INPUTS: [&str; 6] = ["yes", "no", "number", "word", "list", "pause"];

/// The value of an input that was not changed.
pub fn input(name: &str) -> Value {
    match name {
        "yes" => json!(true),
        "no" => json!(false),
        "number" => json!(2),
        "word" => json!("a"),
        "list" => json!([2, "a", "b"]),
        "pause" => json!("2ms"),
        _ => Value::Null,
    }
}

impl Flow {
    /// Every task and group, each group before what is in it.
    pub fn all_tasks(&self) -> Vec<&Task> {
        fn collect<'a>(tasks: &'a [Task], all: &mut Vec<&'a Task>) {
            for task in tasks {
                all.push(task);
                collect(task.inner(), all);
            }
        }
        let mut all = Vec::new();
        collect(&self.tasks, &mut all);
        collect(&self.finally, &mut all);
        all
    }

    /// Whether it stands in no fan-out and no loop.
    pub fn is_single(&self, id: &str) -> bool {
        fn among(tasks: &[Task], id: &str) -> bool {
            tasks.iter().any(|task| {
                task.id == id || matches!(&task.kind, Kind::Group(inner) if among(inner, id))
            })
        }
        among(&self.tasks, id) || among(&self.finally, id)
    }

    pub fn task(&self, id: &str) -> Option<&Task> {
        self.all_tasks().into_iter().find(|task| task.id == id)
    }
}

impl Task {
    /// The tasks of a group.
    pub fn inner(&self) -> &[Task] {
        match &self.kind {
            Kind::Group(tasks)
            | Kind::Each(Each { tasks, .. })
            | Kind::Rounds(Rounds { tasks, .. }) => tasks,
            Kind::Work(_) | Kind::Sleep(_) | Kind::Ask(_) | Kind::Wait(_) | Kind::Child(_) => &[],
        }
    }

    /// What it does, if it is a command.
    pub const fn work(&self) -> Option<&Work> {
        if let Kind::Work(work) = &self.kind { Some(work) } else { None }
    }

    /// What an item or round of the group is called inside.
    pub fn item_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Each(each) => Some(&each.name),
            Kind::Rounds(rounds) => Some(&rounds.name),
            Kind::Work(_)
            | Kind::Sleep(_)
            | Kind::Ask(_)
            | Kind::Wait(_)
            | Kind::Child(_)
            | Kind::Group(_) => None,
        }
    }

    pub const fn is_group(&self) -> bool {
        matches!(self.kind, Kind::Group(_) | Kind::Each(_) | Kind::Rounds(_))
    }
}

impl End {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Stop => "stopped",
            Self::Complete => "completed",
            Self::Fail => "failed",
        }
    }
}

impl Work {
    /// What the attempts of one instance come to, by its key; `retried` after a retry.
    pub fn endings_of(&self, key: &str, retried: bool) -> &[Ending] {
        if retried {
            return &self.again;
        }
        let sum: usize = key.bytes().map(usize::from).sum();
        &self.endings[sum % self.endings.len()]
    }

    /// Whether it may write outputs.
    pub fn writes(&self) -> bool {
        let writes = |ending: &Ending| matches!(ending, Ending::Succeeds(output) if *output != Output::default());
        self.endings.iter().flatten().chain(&self.again).any(writes)
    }

    /// Whether every attempt of it does the same.
    pub fn always(&self, ending: &Ending) -> bool {
        self.endings.iter().flatten().chain(&self.again).all(|other| other == ending)
    }
}

impl Output {
    pub fn json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        if let Some(n) = self.n {
            json.insert("n".to_owned(), n.into());
        }
        if let Some(list) = &self.list {
            json.insert("list".to_owned(), Value::Array(list.clone()));
        }
        if self.large {
            json.insert("pad".to_owned(), "0".repeat(9_000).into());
        }
        json
    }
}

impl Class {
    pub const ALL: [Self; 5] =
        [Self::Error, Self::Timeout, Self::Schema, Self::Template, Self::TooLarge];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Schema => "schema",
            Self::Template => "template",
            Self::TooLarge => "too_large",
        }
    }
}
