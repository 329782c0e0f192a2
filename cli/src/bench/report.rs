//! The numbers of a benchmark: each run, and the medians.

use serde::Serialize;
use serde_json::Value;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub tasks: usize,
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enqueue_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The fan-out of 10 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wide_ms: Option<f64>,
    /// The claim with the small backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_p50_ms: Option<f64>,
    /// Without the watchers, without the other tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone_p99_ms: Option<f64>,
    /// The most that a worker process used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_memory_bytes: Option<u64>,
    pub commits: i64,
    pub wal_bytes: i64,
    pub events: i64,
}

impl Run {
    pub(super) fn new(tasks: usize, seconds: f64, events: i64) -> Self {
        Self {
            tasks,
            seconds,
            per_second: None,
            enqueue_per_second: None,
            p50_ms: None,
            p99_ms: None,
            wide_ms: None,
            small_p50_ms: None,
            alone_per_second: None,
            alone_p50_ms: None,
            alone_p99_ms: None,
            worker_memory_bytes: None,
            commits: 0,
            wal_bytes: 0,
            events,
        }
    }
}

/// What bare SQL reached in the same minute.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limit {
    pub per_second: f64,
    /// What Jobshop reached of it.
    pub ratio: f64,
}

impl Limit {
    pub(super) const fn new(per_second: f64) -> Self {
        Self { per_second, ratio: 0.0 }
    }
}

/// The medians of the runs, and the runs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub bench: &'static str,
    #[serde(flatten)]
    pub median: Run,
    pub runs: Vec<Run>,
    pub settings: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

impl Report {
    pub(super) fn new(
        bench: &'static str,
        runs: Vec<Run>,
        settings: Value,
        limit: Option<Limit>,
    ) -> Self {
        let median = median(&runs);
        let ratio = |limit: Limit| median.per_second.unwrap_or_default() / limit.per_second;
        let limit = limit.map(|limit| Limit { ratio: ratio(limit), ..limit });
        Self { bench, median, runs, settings, limit }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "medians of counters are counters")]
#[expect(clippy::cast_precision_loss, reason = "counters of a benchmark are far below 2^52")]
fn median(runs: &[Run]) -> Run {
    let of = |value: fn(&Run) -> Option<f64>| {
        let mut values: Vec<f64> = runs.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| quantile(&mut values, 0.5))
    };
    let count = |value: fn(&Run) -> i64| {
        let mut values: Vec<f64> = runs.iter().map(|run| value(run) as f64).collect();
        quantile(&mut values, 0.5) as i64
    };
    Run {
        tasks: runs.first().map_or(0, |run| run.tasks),
        seconds: of(|run| Some(run.seconds)).unwrap_or_default(),
        per_second: of(|run| run.per_second),
        enqueue_per_second: of(|run| run.enqueue_per_second),
        p50_ms: of(|run| run.p50_ms),
        p99_ms: of(|run| run.p99_ms),
        wide_ms: of(|run| run.wide_ms),
        small_p50_ms: of(|run| run.small_p50_ms),
        alone_per_second: of(|run| run.alone_per_second),
        alone_p50_ms: of(|run| run.alone_p50_ms),
        alone_p99_ms: of(|run| run.alone_p99_ms),
        worker_memory_bytes: runs.iter().filter_map(|run| run.worker_memory_bytes).max(),
        commits: count(|run| run.commits),
        wal_bytes: count(|run| run.wal_bytes),
        events: count(|run| run.events),
    }
}

/// The value below which the share `q` of the values lies; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a list of measurements"
)]
pub(super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_runs_is_that_of_each_number() {
        let run = |per_second| Run { per_second: Some(per_second), ..Run::new(10, 1.0, 5) };
        let report = Report::new(
            "jobs",
            vec![run(3.0), run(1.0), run(2.0)],
            Value::Null,
            Some(Limit::new(4.0)),
        );
        assert_eq!(report.median.per_second, Some(2.0));
        assert!((report.limit.unwrap().ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn quantiles_of_few_values_are_some_of_them() {
        let is =
            |values: &mut [f64], q, expected: f64| (quantile(values, q) - expected).abs() < 1e-9;
        assert!(is(&mut [3.0, 1.0, 2.0], 0.5, 2.0));
        assert!(is(&mut [3.0, 1.0, 2.0], 0.99, 3.0));
        assert!(is(&mut [], 0.5, 0.0));
    }
}
