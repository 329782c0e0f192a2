//! Random workflows. proptest makes *genes*, plain numbers that shrink towards the simplest
//! workflow; [`super::build`] makes a valid workflow of any genes.

use proptest::{
    collection::vec,
    option::weighted,
    prelude::{Just, Strategy, any},
    prop_oneof,
    strategy::BoxedStrategy,
};
use serde_json::{Value, json};

use super::{
    build,
    flow::{Class, Coming, Ending, Flow, Join, KeyRule, Output, Retry, Steering, Verdict},
    reference,
};

/// What real processes can do: no crashes, one class of errors, no instances that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildness {
    /// Attempts come to whatever the flow says.
    Decided,
    /// Attempts are executed.
    Executed,
}

#[derive(Debug, Clone)]
pub(super) struct FlowGenes {
    pub(super) tasks: Vec<TaskGenes>,
    pub(super) fail_fast: bool,
    pub(super) retry: Option<Retry>,
    pub(super) outputs: Vec<TermGenes>,
    pub(super) steering: Steering,
}

#[derive(Debug, Clone)]
pub(super) struct TaskGenes {
    /// How many siblings back each need stands.
    pub(super) needs: Vec<usize>,
    pub(super) join: Join,
    pub(super) when: Option<WhenGenes>,
    pub(super) continue_on_failure: bool,
    pub(super) kind: KindGenes,
}

#[derive(Debug, Clone)]
pub(super) enum KindGenes {
    Work(WorkGenes),
    Sleep(u8),
    Ask(Verdict),
    Wait(Coming),
    Group(Vec<TaskGenes>),
    Each(EachGenes),
}

#[derive(Debug, Clone)]
pub(super) struct WorkGenes {
    pub(super) retry: Option<Retry>,
    pub(super) env: Option<TermGenes>,
    pub(super) endings: Vec<Vec<Ending>>,
    pub(super) again: Vec<Ending>,
}

#[derive(Debug, Clone)]
pub(super) struct EachGenes {
    pub(super) list: Vec<Value>,
    /// Takes the list from an expression.
    pub(super) given: Option<TermGenes>,
    pub(super) key: KeyRule,
    pub(super) max_parallel: Option<u8>,
    pub(super) tasks: Vec<TaskGenes>,
}

/// Which of the terms that can be written at a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct TermGenes {
    /// One that looks at a task, where there is one to look at.
    pub(super) looks: bool,
    pub(super) pick: usize,
    pub(super) through_needs: bool,
}

#[derive(Debug, Clone)]
pub(super) struct WhenGenes {
    pub(super) shape: u8,
    pub(super) term: TermGenes,
    pub(super) value: usize,
    pub(super) negated: bool,
    pub(super) second: Option<Box<(bool, WhenGenes)>>,
}

/// Workflows with what is done to their sessions.
pub fn flows(wildness: Wildness) -> impl Strategy<Value = Flow> {
    let steering = match wildness {
        Wildness::Decided => prop_oneof![
            7 => Just(Steering::LeftAlone),
            3 => Just(Steering::Retried),
            1 => (0..12_usize).prop_map(|after| Steering::Cancelled { after }),
        ]
        .boxed(),
        Wildness::Executed => Just(Steering::LeftAlone).boxed(),
    };
    let fail_fast = proptest::bool::weighted(0.12);
    let outputs = vec(term(), 0..3);
    (tasks(wildness, 0), fail_fast, weighted(0.1, retry()), outputs, steering).prop_map(
        |(tasks, fail_fast, retry, outputs, steering)| {
            let flow = build::flow(FlowGenes { tasks, fail_fast, retry, outputs, steering });
            if flow.steering == Steering::Retried && reference::is_overtaken_by_a_retry(&flow) {
                return Flow { steering: Steering::LeftAlone, ..flow };
            }
            flow
        },
    )
}

/// The tasks of a level: fewer the deeper it is.
fn tasks(wildness: Wildness, depth: usize) -> BoxedStrategy<Vec<TaskGenes>> {
    let most = [8, 5, 3, 2][depth];
    vec(task(wildness, depth), 1..=most).boxed()
}

fn task(wildness: Wildness, depth: usize) -> impl Strategy<Value = TaskGenes> {
    let join = prop_oneof![6 => Just(Join::All), 2 => Just(Join::Any), 2 => Just(Join::AllDone)];
    let allowed = proptest::bool::weighted(0.2);
    (kind(wildness, depth), vec(1..5_usize, 0..=3), join, weighted(0.25, when(1)), allowed)
        .prop_map(|(kind, needs, join, when, continue_on_failure)| TaskGenes {
            needs,
            join,
            when,
            continue_on_failure,
            kind,
        })
}

fn kind(wildness: Wildness, depth: usize) -> BoxedStrategy<KindGenes> {
    let work = work(wildness).prop_map(KindGenes::Work);
    let sleep = (0..4_u8).prop_map(KindGenes::Sleep);
    // Nobody votes and sends where attempts are executed.
    let people = u32::from(wildness == Wildness::Decided);
    let ask = prop_oneof![
        4 => Just(Verdict::Approved),
        1 => Just(Verdict::Rejected),
        1 => Just(Verdict::Overruled),
    ]
    .prop_map(KindGenes::Ask);
    let wait = prop_oneof![Just(Coming::Early), Just(Coming::Late)].prop_map(KindGenes::Wait);
    if depth == 3 {
        return prop_oneof![10 => work, 1 => sleep, people => ask, people => wait].boxed();
    }
    let group = tasks(wildness, depth + 1).prop_map(KindGenes::Group);
    let each = each(wildness, depth).prop_map(KindGenes::Each);
    prop_oneof![12 => work, 1 => sleep, people => ask, people => wait, 3 => group, 3 => each]
        .boxed()
}

fn each(wildness: Wildness, depth: usize) -> impl Strategy<Value = EachGenes> {
    let most = [5, 3, 2][depth];
    let key = prop_oneof![4 => Just(KeyRule::Index), 4 => Just(KeyRule::Item), 1 => Just(KeyRule::Prefixed)];
    (
        vec(item(), 0..=most),
        weighted(0.35, term()),
        key,
        weighted(0.4, 1..=3_u8),
        tasks(wildness, depth + 1),
    )
        .prop_map(|(list, given, key, max_parallel, tasks)| EachGenes {
            list,
            given,
            key,
            max_parallel,
            tasks,
        })
}

/// What stands in a list of `for_each`: mostly what can be a key.
fn item() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => proptest::sample::select(vec![
            json!(2), json!("a"), json!("b"), json!(3), json!("c/d"), json!(7), json!("x.y"), json!("e:f"),
        ]),
        1 => proptest::sample::select(vec![
            json!("2"), json!("x y"), json!(true), json!([2, "a"]), json!(["b"]), json!(1.5),
            json!(""), json!(null), json!({ "k": "a" }),
        ]),
    ]
}

fn work(wildness: Wildness) -> impl Strategy<Value = WorkGenes> {
    let variants = if wildness == Wildness::Decided { 3 } else { 1 };
    let endings = vec(vec(ending(wildness), 1..=3), 1..=variants);
    (endings, vec(ending(wildness), 1..=2), weighted(0.4, retry()), weighted(0.15, term()))
        .prop_map(|(endings, again, retry, env)| WorkGenes { retry, env, endings, again })
}

fn ending(wildness: Wildness) -> BoxedStrategy<Ending> {
    let n = weighted(0.5, 2..=3_u8);
    let list = weighted(0.3, vec(item(), 0..=3));
    let output = (n, list, proptest::bool::weighted(0.05)).prop_map(|(n, list, large)| Output {
        n,
        list,
        large,
    });
    let succeeds = output.prop_map(Ending::Succeeds);
    match wildness {
        Wildness::Decided => prop_oneof![
            16 => succeeds,
            5 => class().prop_map(Ending::Fails),
            1 => Just(Ending::Crashes),
        ]
        .boxed(),
        Wildness::Executed => {
            prop_oneof![3 => succeeds, 1 => Just(Ending::Fails(Class::Error))].boxed()
        }
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        4 => Just(Class::Error),
        1 => proptest::sample::select(Class::ALL.to_vec()),
    ]
}

fn retry() -> impl Strategy<Value = Retry> {
    let errors = vec(class(), 0..=2).prop_map(|mut errors| {
        errors.dedup();
        errors
    });
    (weighted(0.7, 1..=4_u8), weighted(0.3, errors))
        .prop_map(|(max_attempts, errors)| Retry { max_attempts, errors })
}

fn term() -> impl Strategy<Value = TermGenes> {
    (proptest::bool::weighted(0.8), any::<u16>(), proptest::bool::weighted(0.2)).prop_map(
        |(looks, pick, through_needs)| TermGenes { looks, pick: pick.into(), through_needs },
    )
}

fn when(depth: u8) -> BoxedStrategy<WhenGenes> {
    let second = if depth == 0 {
        Just(None).boxed()
    } else {
        weighted(0.2, (any::<bool>(), when(depth - 1)).prop_map(Box::new)).boxed()
    };
    (0..12_u8, term(), 0..32_usize, proptest::bool::weighted(0.3), second)
        .prop_map(|(shape, term, value, negated, second)| WhenGenes {
            shape,
            term,
            value,
            negated,
            second,
        })
        .boxed()
}
