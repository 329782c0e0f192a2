//! What becomes of a row that waits: the rules of joins, conditions, groups and items. Values come
//! in, a decision goes out; it does not know rows or time.

use serde_json::Value;

use crate::{
    duration::Span,
    expression::{self, Scope, values::Values},
    outcome::{ErrorClass, Failure},
    plan::{self, Approval, Group, Join, Kind, Loop, NodeIndex, Plan},
    signal,
    task::{Reason, TaskState},
};

/// What a row that waited for its needs is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It may be claimed.
    Ready,
    Skip(Reason),
    Fail(Failure),
    /// It sleeps for so many milliseconds.
    Sleep(u64),
    /// People are asked this.
    Ask(String),
    /// It waits for the signal of this name.
    Await(String),
    /// A plain group begins: so many direct children, and those of them that waited for nothing else.
    Start {
        children: i32,
        opened: Vec<NodeIndex>,
    },
    /// A `for_each` group begins with these keys and values; there is at least one.
    Expand(Vec<(String, Value)>),
    /// A `for_each` group without items.
    Complete,
    /// A loop begins with its first round.
    Repeat,
    /// It waits for a session of its own.
    Child,
}

/// How the needs of a row ended, as far as its join asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Those that ended badly.
    pub bad: i32,
    /// Whether one completed, or failed and was allowed to.
    pub any_good: bool,
}

/// Decides a row whose needs let it go: the join, then its own `when`, then its kind.
pub fn decide(plan: &Plan, index: NodeIndex, needs: Needs, values: &Values) -> Decision {
    let node = plan.node(index);
    if let Some(reason) = refusal(node.join, needs) {
        return Decision::Skip(reason);
    }
    if let Some(when) = &node.when {
        match expression::condition(when, &values.scope(plan, Some(index))) {
            Ok(true) => {}
            Ok(false) => return Decision::Skip(Reason::When),
            Err(failure) => return Decision::Fail(failure),
        }
    }
    match &node.kind {
        Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_) => Decision::Ready,
        Kind::Sleep(source) => sleep(plan, index, source, values),
        Kind::Approval(approval) => ask(plan, index, approval, values),
        Kind::WaitFor(source) => wait(plan, index, source, values),
        Kind::Session(_) => Decision::Child,
        Kind::Group(group) if group.for_each.is_some() => match plan::expand(plan, index, values) {
            Ok(items) if items.is_empty() => Decision::Complete,
            Ok(items) => Decision::Expand(items),
            Err(failure) => Decision::Fail(failure),
        },
        Kind::Group(group) if group.rounds.is_some() => Decision::Repeat,
        Kind::Group(group) => start(plan, group),
    }
}

/// Why a row must not run, given how its needs ended.
fn refusal(join: Join, needs: Needs) -> Option<Reason> {
    match join {
        Join::All | Join::Any if needs.bad > 0 && !(join == Join::Any && needs.any_good) => {
            Some(Reason::UpstreamFailed)
        }
        Join::Any if !needs.any_good => Some(Reason::NoNeedCompleted),
        Join::All | Join::Any | Join::AllDone => None,
    }
}

fn sleep(plan: &Plan, index: NodeIndex, source: &str, values: &Values) -> Decision {
    let text = match expression::render_text(source, &values.scope(plan, Some(index))) {
        Ok(text) => text,
        Err(failure) => return Decision::Fail(failure),
    };
    match text.parse::<Span>() {
        Ok(span) => Decision::Sleep(span.ms),
        Err(error) => Decision::Fail(Failure::new(ErrorClass::Template, error.to_string())),
    }
}

/// What is asked may have this many characters.
const MESSAGE_CHARS_MAX: usize = 20_000;

fn ask(plan: &Plan, index: NodeIndex, approval: &Approval, values: &Values) -> Decision {
    let node = plan.node(index);
    let Some(source) = &approval.message else {
        let what = node.title.as_ref().unwrap_or(&node.id);
        return Decision::Ask(format!("May `{what}` go on?"));
    };
    match expression::render_text(source, &values.scope(plan, Some(index))) {
        Ok(text) if text.chars().nth(MESSAGE_CHARS_MAX).is_some() => {
            let message = format!("the message has more than {MESSAGE_CHARS_MAX} characters");
            Decision::Fail(Failure::new(ErrorClass::TooLarge, message))
        }
        Ok(text) => Decision::Ask(text),
        Err(failure) => Decision::Fail(failure),
    }
}

fn wait(plan: &Plan, index: NodeIndex, source: &str, values: &Values) -> Decision {
    match expression::render_text(source, &values.scope(plan, Some(index))) {
        Ok(name) if signal::is_name(&name) => Decision::Await(name),
        Ok(name) => {
            let message = format!("`{name}` cannot be the name of a signal");
            Decision::Fail(Failure::new(ErrorClass::Template, message))
        }
        Err(failure) => Decision::Fail(failure),
    }
}

/// An item that waited for its locks begins.
pub fn begin_item(plan: &Plan, group: NodeIndex) -> Decision {
    plan.group(group).map_or(Decision::Complete, |group| start(plan, group))
}

fn start(plan: &Plan, group: &Group) -> Decision {
    Decision::Start {
        children: i32::try_from(group.children.len()).expect("a plan has at most 10 000 nodes"),
        opened: group
            .children
            .iter()
            .copied()
            .filter(|child| plan.node(*child).needs.is_empty())
            .collect(),
    }
}

/// What a group comes to when everything in it has ended: `bad` counts children that failed
/// unallowed or were cancelled; `earlier` is what went wrong with the group itself before.
pub fn end_of_group(bad: i32, earlier: Option<Failure>) -> (TaskState, Option<Failure>) {
    if let Some(failure) = earlier {
        return (TaskState::Failed, Some(failure));
    }
    if bad == 0 {
        return (TaskState::Completed, None);
    }
    let what = if bad == 1 { "one part of it".to_owned() } else { format!("{bad} parts of it") };
    (TaskState::Failed, Some(Failure::new(ErrorClass::Error, format!("{what} failed"))))
}

/// What follows the round of a loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterRound {
    Another,
    End(TaskState, Option<Failure>),
}

/// What follows when everything in round number `round` has ended well or was allowed to fail.
pub fn after_round(rounds: &Loop, round: u32, scope: &Scope) -> AfterRound {
    match expression::condition(&rounds.until, scope) {
        Ok(true) => AfterRound::End(TaskState::Completed, None),
        Ok(false) if round < rounds.max_rounds => AfterRound::Another,
        Ok(false) => {
            let most = rounds.max_rounds;
            let why = format!("`until` was not true after {most} rounds");
            AfterRound::End(TaskState::Failed, Some(Failure::new(ErrorClass::MaxRounds, why)))
        }
        Err(failure) => AfterRound::End(TaskState::Failed, Some(failure)),
    }
}

/// What an item comes to when everything in it has ended.
pub fn end_of_item(bad: i32, all_skipped: bool) -> (TaskState, Option<Failure>) {
    if bad == 0 && all_skipped { (TaskState::Skipped, None) } else { end_of_group(bad, None) }
}

/// The nodes inside a group that are laid down together with it, at any depth.
pub fn inside(plan: &Plan, group: NodeIndex) -> Vec<NodeIndex> {
    let mut found = Vec::new();
    let mut open = vec![group];
    while let Some(index) = open.pop() {
        if let Some(group) = plan.group(index).filter(|group| group.is_plain()) {
            found.extend(&group.children);
            open.extend(&group.children);
        }
    }
    found
}
