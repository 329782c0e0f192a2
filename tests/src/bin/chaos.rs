//! `chaos --profile pr|nightly|release --seed N`: breaks everything while real work is done, and says
//! what was violated. The last line on stdout is one JSON object; the exit code is 1 where something
//! was violated, 2 where the time was too short for all that the profile asks.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use jobshop_engine::duration::Span;
use jobshop_tests::chaos::{self, profile::Profile};

#[derive(Debug, Parser)]
struct Arguments {
    /// How much is done and broken: pr, nightly or release
    #[arg(long, default_value = "pr", value_parser = profile)]
    profile: Profile,
    /// Decides load and faults; a new one unless given
    #[arg(long)]
    seed: Option<u64>,
    /// The longest that faults and load may take, where the profile's is not meant: `10m`
    #[arg(long)]
    limit: Option<Span>,
    /// Output is JSON in any case
    #[arg(long)]
    json: bool,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| "one of pr, nightly, release".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if let Some(limit) = arguments.limit {
        arguments.profile.limit = limit.to_std();
    }
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    let program = std::env::current_exe()?.with_file_name("jobshop-cli");
    anyhow::ensure!(
        program.is_file(),
        "no jobshop-cli beside this program: cargo build -p jobshop-tests"
    );
    #[expect(clippy::print_stderr, reason = "somebody waits")]
    {
        eprintln!(
            "profile {}, seed {seed}, at most {:?}",
            arguments.profile.name, arguments.profile.limit
        );
    }
    let report =
        chaos::run(arguments.profile, seed, &program).await.context("the run broke off")?;
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(match (report.violations.is_empty(), report.short.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(2),
        (true, true) => ExitCode::SUCCESS,
    })
}
