//! `jobshop bench`: measures this installation.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app::App;
use crate::bench::{self, Bench as What, Options, Report, page};
use crate::exit::{Exit, Failure};

/// Measure this installation through the public path
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    page: Option<Page>,
    /// What to measure; everything without it
    #[arg(value_name = "BENCH")]
    what: Option<What>,
    /// Also run bare SQL of the same row writes, and print the ratio
    #[arg(long)]
    limit: bool,
    /// How often; medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Have so many worker processes work, instead of one worker within the server
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Page {
    /// Write a page with the figures and plots of benchmarks: one HTML file that needs nothing else
    Report {
        /// What `jobshop bench --json` printed, one result a line; `-` is standard input
        #[arg(value_name = "FILE")]
        from: PathBuf,
        /// Where the page goes
        #[arg(long, short, value_name = "FILE", default_value = "bench.html")]
        output: PathBuf,
    },
}

const ALL: [What; 9] = [
    What::Jobs,
    What::Chain,
    What::Chains,
    What::Fanout,
    What::Latency,
    What::Sessions,
    What::Backlog,
    What::Events,
    What::Fairness,
];

impl Bench {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        if let Some(Page::Report { from, output }) = self.page {
            return write_page(app, &from, &output);
        }
        let options =
            Options { runs: usize::from(self.runs), limit: self.limit, workers: self.workers };
        let several = self.what.is_none();
        let benches = self.what.map_or_else(|| ALL.to_vec(), |bench| vec![bench]);
        for bench in benches {
            // A million rows are laid down for these: once is enough.
            let is_large = matches!(bench, What::Backlog | What::Fairness);
            let runs = if is_large { 1 } else { options.runs };
            let report = bench::run(app, bench, Options { runs, ..options }).await?;
            if app.output.is_json() && several {
                app.output.json_line(&json!(report))?;
            } else if app.output.is_json() {
                app.output.json(&json!(report))?;
            } else {
                for line in lines(&report) {
                    app.output.line(&line)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn write_page(app: &App, from: &Path, output: &Path) -> Result<Exit, Failure> {
    let mut text = String::new();
    if from == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
    } else {
        text = std::fs::read_to_string(from).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", from.display()))
                .hint("`jobshop bench --json > FILE` writes one")
        })?;
    }
    let results = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let results: Vec<Value> = results.collect::<Result<_, _>>().map_err(|error| {
        Failure::usage(format!("{}: {error}", from.display()))
            .hint("it takes what `jobshop bench --json` printed")
    })?;
    let page =
        page::page(&results).map_err(|why| Failure::usage(format!("{}: {why}", from.display())))?;
    std::fs::write(output, page).with_context(|| format!("cannot write {}", output.display()))?;
    app.output.note(&format!("wrote {}", output.display()));
    Ok(Exit::Done)
}

/// The report for people: the medians, then every run.
fn lines(report: &Report) -> Vec<String> {
    let median = &report.median;
    let mut parts = Vec::new();
    let numbers = [
        (median.per_second, "/s", 0),
        (median.enqueue_per_second, "/s enqueued", 0),
        (median.p50_ms, "ms median", 3),
        (median.p99_ms, "ms p99", 3),
        (median.wide_ms, "ms for 10 000", 0),
        (median.small_p50_ms, "ms with 10 000 ready", 3),
        (median.alone_per_second, "/s alone", 0),
        (median.alone_p50_ms, "ms median alone", 3),
        (median.alone_p99_ms, "ms p99 alone", 3),
    ];
    for (number, unit, digits) in numbers {
        if let Some(number) = number {
            parts.push(format!("{number:.digits$} {unit}"));
        }
    }
    let tasks = i64::try_from(median.tasks.max(1)).unwrap_or(i64::MAX);
    parts.push(format!(
        "{} commits, {} WAL bytes and {:.1} events a task",
        median.commits,
        median.wal_bytes / tasks,
        ratio(median.events, tasks)
    ));
    let mut lines = vec![format!("{:<9} {}", report.bench, parts.join(", "))];
    if let Some(limit) = report.limit {
        lines.push(format!(
            "          bare SQL {:.0} /s in the same minute: {:.0} % of it",
            limit.per_second,
            limit.ratio * 100.0
        ));
    }
    let runs: Vec<String> = report
        .runs
        .iter()
        .filter_map(|run| run.per_second.or(run.p50_ms))
        .map(|number| format!("{number:.2}"))
        .collect();
    lines.push(format!("          runs: {}", runs.join(", ")));
    lines
}

#[expect(clippy::cast_precision_loss, reason = "counters of a benchmark are far below 2^52")]
fn ratio(of: i64, to: i64) -> f64 {
    of as f64 / to as f64
}
