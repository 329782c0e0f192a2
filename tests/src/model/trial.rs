//! Many random flows against the reference model. A flow that differs is shrunk to a small one and
//! told as YAML, with the differences.

use std::time::{Duration, Instant};

use proptest::{
    strategy::{Strategy as _, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{flow::Flow, generate, lane::Lane};

/// Sessions that run beside each other.
const BATCH: usize = 60;
/// Smaller flows that are tried, at most, to find the smallest that differs.
const SHRINKS_MAX: usize = 600;
/// How long they are tried, at most: a flow that hangs takes its time, and what was found must be
/// told before the test is ended.
const SHRINK_LIMIT: Duration = Duration::from_secs(40);
/// How often a smaller flow may do well by chance before it counts as right.
const CHANCES: u64 = 3;

type Tree = Box<dyn ValueTree<Value = Flow>>;

/// A flow that differs from the reference model.
#[derive(Debug)]
pub struct Difference {
    /// From 1.
    pub case: usize,
    pub flow: Flow,
    pub problems: Vec<String>,
    /// How many smaller flows were tried.
    pub shrinks: usize,
}

/// Random flows, always the same for a seed.
pub fn cases(seed: u64) -> impl Iterator<Item = Tree> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let flows = generate::flows();
    std::iter::repeat_with(move || {
        let tree = flows.new_tree(&mut runner).expect("nothing is filtered");
        Box::new(tree) as Tree
    })
}

/// Runs so many flows through the fast lane, but those before the batch of case `from`; the first that
/// differs is returned, as small as it could be made.
pub async fn run(count: usize, seed: u64, from: usize) -> Option<Difference> {
    let lane = Lane::new().await;
    let mut done = from.saturating_sub(1) / BATCH * BATCH;
    let mut cases = cases(seed).skip(done);
    while done < count {
        let mut trees: Vec<Tree> = cases.by_ref().take(BATCH.min(count - done)).collect();
        let flows: Vec<Flow> = trees.iter().map(ValueTree::current).collect();
        let reports = lane.run(&flows, seed.wrapping_add(done as u64)).await;
        done += reports.len();
        let first = done - reports.len();
        for (at, (flow, problems)) in flows.into_iter().zip(reports).enumerate() {
            if !problems.is_empty() {
                let found = Difference { case: first + at + 1, flow, problems, shrinks: 0 };
                return Some(shrink(&lane, trees.swap_remove(at), found).await);
            }
        }
    }
    lane.check().await;
    None
}

/// Looks for a smaller flow that differs too.
async fn shrink(lane: &Lane, mut tree: Tree, mut found: Difference) -> Difference {
    let mut goes_on = tree.simplify();
    let began = Instant::now();
    while goes_on && found.shrinks < SHRINKS_MAX && began.elapsed() < SHRINK_LIMIT {
        found.shrinks += 1;
        let flow = tree.current();
        let mut problems = Vec::new();
        for chance in 0..CHANCES {
            problems = lane.run(std::slice::from_ref(&flow), chance).await.swap_remove(0);
            if !problems.is_empty() {
                break;
            }
        }
        if problems.is_empty() {
            goes_on = tree.complicate();
        } else {
            (found.flow, found.problems) = (flow, problems);
            goes_on = tree.simplify();
        }
    }
    found
}
