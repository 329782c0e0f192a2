//! A workflow as the flow test thinks of it: what is written in the file, and beside it what the
//! attempts of each task will come to. It decides nothing.

use serde_json::{Map, Value, json};

use super::terms::{Term, When};

/// A workflow, and what is done to its session.
#[derive(Debug, Clone)]
pub struct Flow {
    pub tasks: Vec<Task>,
    pub fail_fast: bool,
    /// `defaults.retry`.
    pub retry: Option<Retry>,
    /// The session's outputs, `o0`, `o1`, …
    pub outputs: Vec<Term>,
    pub steering: Steering,
}

/// What a person does to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    LeftAlone,
    /// Cancelled after so many finishes of its attempts.
    Cancelled {
        after: usize,
    },
    /// Retried once it has ended, if it can be.
    Retried,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub needs: Vec<String>,
    pub join: Join,
    pub when: Option<When>,
    pub continue_on_failure: bool,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    All,
    Any,
    AllDone,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// A command, or `builtin/noop` or `builtin/fail` where its endings allow that.
    Work(Work),
    /// So many milliseconds.
    Sleep(u8),
    /// An approval, and what somebody will say.
    Ask(Verdict),
    /// A wait for a signal, which comes before or after the wait begins.
    Wait(Coming),
    Group(Vec<Task>),
    Each(Each),
}

/// What becomes of an approval. Its message says it, so that whoever votes knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Approved,
    Rejected,
    /// Rejected, and the workflow says `on_reject: continue`.
    Overruled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    Early,
    Late,
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

#[derive(Debug, Clone)]
pub struct Work {
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

/// The value of an input.
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
        all
    }

    pub fn task(&self, id: &str) -> Option<&Task> {
        self.all_tasks().into_iter().find(|task| task.id == id)
    }
}

impl Task {
    /// The tasks of a group.
    pub fn inner(&self) -> &[Task] {
        match &self.kind {
            Kind::Group(tasks) | Kind::Each(Each { tasks, .. }) => tasks,
            Kind::Work(_) | Kind::Sleep(_) | Kind::Ask(_) | Kind::Wait(_) => &[],
        }
    }

    pub const fn is_group(&self) -> bool {
        matches!(self.kind, Kind::Group(_) | Kind::Each(_))
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
