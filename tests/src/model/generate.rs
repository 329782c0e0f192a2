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
    flow::{
        Again, By, Class, Coming, End, Ending, Flow, Join, KeyRule, Output, Retry, Steering, Uses,
        Verdict,
    },
    lock::Lock,
};

#[derive(Debug, Clone)]
pub(super) struct FlowGenes {
    pub(super) tasks: Vec<TaskGenes>,
    pub(super) finally: Vec<TaskGenes>,
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
    pub(super) locks: Vec<Lock>,
    pub(super) compensate: Option<WorkGenes>,
}

#[derive(Debug, Clone)]
pub(super) enum KindGenes {
    Work(WorkGenes),
    Sleep(u8),
    Ask(Verdict),
    Wait(Coming),
    Child(Uses, TermGenes, Option<Retry>),
    Group(Vec<TaskGenes>),
    Each(EachGenes),
    Rounds(RoundsGenes),
}

#[derive(Debug, Clone)]
pub(super) struct WorkGenes {
    pub(super) by: By,
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

#[derive(Debug, Clone)]
pub(super) struct RoundsGenes {
    pub(super) until: WhenGenes,
    pub(super) most: u8,
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
pub fn flows() -> impl Strategy<Value = Flow> {
    let fail_fast = proptest::bool::weighted(0.12);
    let finally = prop_oneof![3 => Just(Vec::new()), 1 => tasks(2)];
    (tasks(0), finally, fail_fast, weighted(0.1, retry()), vec(term(), 0..3), steering()).prop_map(
        |(tasks, finally, fail_fast, retry, outputs, steering)| {
            build::flow(FlowGenes { tasks, finally, fail_fast, retry, outputs, steering })
        },
    )
}

fn steering() -> impl Strategy<Value = Steering> {
    let end =
        prop_oneof![Just(End::Cancel), Just(End::Stop), Just(End::Complete), Just(End::Fail),];
    let again = prop_oneof![
        4 => Just(Again::Plain),
        3 => (0..1_000_usize).prop_map(Again::From),
        1 => (0..1_000_usize).prop_map(Again::FailedItems),
        1 => (0..1_000_usize).prop_map(Again::Skip),
        1 => (0..1_000_usize).prop_map(Again::Output),
        1 => Just(Again::Inputs),
    ];
    let pauses = prop_oneof![3 => Just(0), 1 => 1..6_u8];
    (pauses, weighted(0.25, (end, 0..12_usize)), vec(again, 0..3), weighted(0.2, 0..1_000_usize))
        .prop_map(|(pauses, end, retries, fork)| Steering { pauses, end, retries, fork })
}

/// The tasks of a level: fewer the deeper it is.
fn tasks(depth: usize) -> BoxedStrategy<Vec<TaskGenes>> {
    let most = [8, 5, 3, 2][depth];
    vec(task(depth), 1..=most).boxed()
}

fn task(depth: usize) -> impl Strategy<Value = TaskGenes> {
    let join = prop_oneof![6 => Just(Join::All), 2 => Just(Join::Any), 2 => Just(Join::AllDone)];
    let allowed = proptest::bool::weighted(0.2);
    let compensate = weighted(0.12, work());
    let lock = proptest::sample::select(Lock::ALL.to_vec());
    let locks = prop_oneof![7 => Just(Vec::new()), 1 => vec(lock, 1..=2)];
    (kind(depth), vec(1..5_usize, 0..=3), join, weighted(0.25, when(1)), allowed, locks, compensate)
        .prop_map(|(kind, needs, join, when, continue_on_failure, locks, compensate)| TaskGenes {
            needs,
            join,
            when,
            continue_on_failure,
            kind,
            locks,
            compensate,
        })
}

fn kind(depth: usize) -> BoxedStrategy<KindGenes> {
    let work = work().prop_map(KindGenes::Work);
    let sleep = (0..4_u8).prop_map(KindGenes::Sleep);
    let ask = prop_oneof![
        6 => Just(Verdict::Approved),
        2 => Just(Verdict::Rejected),
        2 => Just(Verdict::Overruled),
        1 => Just(Verdict::ApprovedInSilence),
        1 => Just(Verdict::RejectedInSilence),
    ]
    .prop_map(KindGenes::Ask);
    let wait =
        prop_oneof![3 => Just(Coming::Early), 3 => Just(Coming::Late), 1 => Just(Coming::Never)]
            .prop_map(KindGenes::Wait);
    let child = (proptest::sample::select(Uses::ALL.to_vec()), term(), weighted(0.3, retry()))
        .prop_map(|(uses, with, retry)| KindGenes::Child(uses, with, retry));
    if depth == 3 {
        return prop_oneof![20 => work, 2 => sleep, 2 => ask, 2 => wait, 1 => child].boxed();
    }
    let group = tasks(depth + 1).prop_map(KindGenes::Group);
    let each = each(depth).prop_map(KindGenes::Each);
    let rounds = (when(1), 1..=3_u8, tasks(depth + 1))
        .prop_map(|(until, most, tasks)| KindGenes::Rounds(RoundsGenes { until, most, tasks }));
    prop_oneof![
        24 => work, 2 => sleep, 2 => ask, 2 => wait, 2 => child, 6 => group, 6 => each, 3 => rounds
    ]
    .boxed()
}

fn each(depth: usize) -> impl Strategy<Value = EachGenes> {
    let most = [5, 3, 2][depth];
    let key = prop_oneof![4 => Just(KeyRule::Index), 4 => Just(KeyRule::Item), 1 => Just(KeyRule::Prefixed)];
    (vec(item(), 0..=most), weighted(0.35, term()), key, weighted(0.4, 1..=3_u8), tasks(depth + 1))
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

fn work() -> impl Strategy<Value = WorkGenes> {
    let by = prop_oneof![6 => Just(By::Command), 2 => Just(By::Agent), 2 => Just(By::Request)];
    let endings = vec(vec(ending(), 1..=3), 1..=3);
    (by, endings, vec(ending(), 1..=2), weighted(0.4, retry()), weighted(0.15, term()))
        .prop_map(|(by, endings, again, retry, env)| WorkGenes { by, retry, env, endings, again })
}

fn ending() -> BoxedStrategy<Ending> {
    let n = weighted(0.5, 2..=3_u8);
    let list = weighted(0.3, vec(item(), 0..=3));
    let output = (n, list, proptest::bool::weighted(0.05)).prop_map(|(n, list, large)| Output {
        n,
        list,
        large,
    });
    prop_oneof![
        16 => output.prop_map(Ending::Succeeds),
        5 => class().prop_map(Ending::Fails),
        1 => Just(Ending::Crashes),
    ]
    .boxed()
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
