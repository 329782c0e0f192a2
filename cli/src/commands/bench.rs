//! `jobshop bench`: measures this installation.

use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::bench::{self, Bench as What, Options, Report};
use crate::exit::{Exit, Failure};

/// Measure this installation through the public path
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// What to measure; everything without it
    #[arg(value_name = "BENCH")]
    what: Option<What>,
    /// Also run bare SQL of the same row writes, and print the ratio
    #[arg(long)]
    limit: bool,
    /// How often; medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
}

const ALL: [What; 7] = [
    What::Jobs,
    What::Chain,
    What::Chains,
    What::Fanout,
    What::Latency,
    What::Sessions,
    What::Backlog,
];

impl Bench {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let options = Options { runs: usize::from(self.runs), limit: self.limit };
        let several = self.what.is_none();
        let benches = self.what.map_or_else(|| ALL.to_vec(), |bench| vec![bench]);
        for bench in benches {
            // A claim is timed over a million rows: once is enough.
            let runs = if bench == What::Backlog { 1 } else { options.runs };
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
