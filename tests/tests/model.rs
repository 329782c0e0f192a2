//! The flow test: random workflows through Postgres against a reference model that shares no rule
//! with the engine. `JOBSHOP_MODEL_CASES` says how many (docs/testing.md), `JOBSHOP_MODEL_SEED`
//! which, and `JOBSHOP_MODEL_FROM` the first to be run.

#![expect(clippy::panic, reason = "a wish that cannot be read ends the test")]

use jobshop_tests::model::trial;

/// What a run without wishes takes.
const CASES: usize = 300;
const SEED: u64 = 1;

fn wish<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_workflows_end_as_the_language_says() {
    let count = wish("JOBSHOP_MODEL_CASES").unwrap_or(CASES);
    let seed = wish("JOBSHOP_MODEL_SEED").unwrap_or(SEED);
    let from = wish("JOBSHOP_MODEL_FROM").unwrap_or(1);
    if let Some(found) = trial::run(count, seed, from).await {
        panic!(
            "case {} of seed {seed}, made smaller {} times:\n{}\n{}",
            found.case,
            found.shrinks,
            found.flow,
            found.problems.join("\n")
        );
    }
}
