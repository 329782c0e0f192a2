//! Agents that run away: each is stopped at its limit, its work kept, the reason told. None of them
//! would end by itself. How soon it was stopped is told, not judged: that is the machine's affair.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use jobshop_engine::{
    id::SessionKey,
    store::{Views, sessions},
};
use jobshop_tests::{model_server::Step, wait};
use serde_json::Value;

use crate::stand::{LIMIT, Process, Stand, task};

const IDLE: TimeDelta = TimeDelta::seconds(40);
const TIMEOUT: TimeDelta = TimeDelta::seconds(60);

struct Case {
    name: &'static str,
    /// After a file was written.
    steps: Vec<Step>,
    limit: &'static str,
    class: &'static str,
    /// In the reason.
    told: &'static str,
    /// When the limit is reached, after the start and after the last thing that was asked of the model.
    due: fn(DateTime<Utc>, DateTime<Utc>) -> DateTime<Utc>,
}

fn cases() -> Vec<Case> {
    let busy: Vec<Step> = (0..40).map(|n| Step::Bash(format!("echo {n}"))).collect();
    let again = vec![Step::Bash("echo again".into())];
    let flood = vec![Step::Flood(300_000)];
    let hang = vec![Step::Bash("echo begun; sleep 600".into())];
    let of = |name, steps: &[Step], limit, class, told| {
        let due = |_, asked| asked;
        Case { name, steps: steps.to_vec(), limit, class, told, due }
    };
    vec![
        Case {
            due: |_, asked| asked + IDLE,
            ..of("stall", &[Step::Stall], "idle: 40s", "timeout", "(`idle`)")
        },
        Case {
            due: |started, _| started + TIMEOUT,
            ..of("clock", &hang, "timeout", "timeout", "timed out")
        },
        of("calls", &again, "repeated_calls: 4", "max_rounds", "(`repeated_calls`)"),
        of("steps", &busy, "steps: 3", "max_rounds", "(`steps`)"),
        of("tokens", &busy, "tokens: 2000", "budget", "(`tokens`)"),
        of("money", &busy, "usd: 0.003", "budget", "(`usd`)"),
        of("flood", &flood, "output: 100KiB", "too_large", "(`output`)"),
    ]
}

fn tasks(cases: &[Case]) -> String {
    let task = |case: &Case| {
        let write = Step::Write { path: format!("{}.txt", case.name), content: "made\n".into() };
        let steps = [&[write], case.steps.as_slice()].concat();
        match case.limit {
            "timeout" => task(case.name, &steps, "") + "    timeout: 60s\n",
            limit => task(case.name, &steps, &format!(", limits: {{ {limit} }}")),
        }
    };
    cases.iter().map(task).collect()
}

/// Workspaces lie in `<session>/<seq>/<attempt>`.
fn seq_of(process: &Process, key: SessionKey) -> i32 {
    let mut parts = process.workspace.iter().map(|part| part.to_str().unwrap());
    parts.find(|part| *part == key.id.to_string());
    parts.next().unwrap().parse().unwrap()
}

/// When something of each task was last seen to run, once the session has ended.
async fn gone(stand: &Stand, key: SessionKey) -> HashMap<i32, DateTime<Utc>> {
    let mut seen = HashMap::new();
    wait::until("the end of the session", LIMIT, async || {
        let now = Utc::now();
        for process in stand.processes() {
            seen.insert(seq_of(&process, key), now);
        }
        sessions::state(&stand.fleet.store.pool, key).await.ok().flatten()?.is_final().then_some(())
    })
    .await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_away_is_stopped_at_its_limit_and_its_work_is_kept() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.workers(3);
    let cases = cases();
    let key = stand.fleet.submit(&stand.workflow(&tasks(&cases)), Value::Null).await;
    let gone = gone(&stand, key).await;
    let db = stand.fleet.db.pool();
    let told = Views::new(&stand.fleet.store, key.tenant).why(key, None).await.unwrap();
    let told = serde_json::to_string(&told).unwrap();
    for (row, case) in stand.fleet.rows(key).await.iter().zip(&cases) {
        let name = case.name;
        let error = row.error.as_ref().unwrap_or_else(|| panic!("{name} ended well"));
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["class"], case.class, "{name}: {error}");
        assert!(message.contains(case.told), "{name}: {error}");
        assert!(told.contains(message), "{name} in {told}");
        let (started, kept): (DateTime<Utc>, DateTime<Utc>) = sqlx::query_as(
            "select started_at, (select max(at) from checkpoints c
                                  where c.session_id = $1 and c.seq = $2 and cause <> 2)
               from tasks where session_id = $1 and seq = $2",
        )
        .bind(key.id.0)
        .bind(row.seq)
        .fetch_one(db)
        .await
        .unwrap();
        // Nothing is heard of whoever is held still.
        let asked = stand.model.last_asked(&format!("{name}.txt")).unwrap().max(kept);
        let took = gone[&row.seq] - (case.due)(started, asked);
        eprintln!("{name}: over {} ms after the limit", took.num_milliseconds());
        let kept: Option<String> = sqlx::query_scalar(
            "select commit_id from checkpoints where session_id = $1 and seq = $2
              order by number desc limit 1",
        )
        .bind(key.id.0)
        .bind(row.seq)
        .fetch_one(db)
        .await
        .unwrap();
        let made = stand.git(&["show", &format!("{}:{name}.txt", kept.unwrap())]);
        assert_eq!(made, "made", "{name}");
    }
    wait::until("the end of what they started", LIMIT, async || {
        stand.processes().is_empty().then_some(())
    })
    .await;
    stand.fleet.stop().await;
}
