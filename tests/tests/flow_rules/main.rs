//! Every rule of the language's "Flow", one small workflow each: what becomes of its tasks, as a
//! user would list them.

#![expect(clippy::unwrap_used, reason = "what is missing is a failed test")]

mod children;
mod compensation;
mod decompose;
mod finally;
mod groups;
mod joins;
mod loops;
mod results;

use std::{fmt::Write as _, time::Duration};

use jobshop_engine::{id::SessionKey, task::Reason};
use jobshop_tests::{
    Fleet,
    model::observe::{self, Observed},
    wait,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    fleet
}

/// A session with the tasks it has, once nothing is left to be done for it.
async fn end_of(fleet: &Fleet, key: SessionKey) -> Observed {
    fleet.end_of(key).await;
    let infos = fleet.store.infos.load(&fleet.store, &[key]).await.unwrap();
    wait::until("the last of the session", LIMIT, async || {
        let plan = &infos[&key].version.plan;
        let observed = observe::observe(fleet.db.pool(), key, plan).await.unwrap();
        (!observed.is_restless).then_some(observed)
    })
    .await
}

/// One line for the session and one for every task: its key, its status and why.
fn told(observed: &Observed) -> String {
    let mut text = format!("session {}\n", observed.state);
    for (key, row) in &observed.rows {
        let class = row.error.as_ref().and_then(|error| error["class"].as_str());
        let why = row.reason.map(Reason::as_str).or(class);
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        writeln!(text, "{key} {}{why}", row.state).unwrap();
    }
    text
}

/// Runs the tasks and compares with the lines expected.
async fn ends(tasks: &str, expected: &str) {
    let fleet = fleet().await;
    let key = fleet.submit(&format!("version: 1\nname: rule\n{tasks}"), Value::Null).await;
    let observed = end_of(&fleet, key).await;
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(told(&observed).trim().lines().collect::<Vec<_>>(), expected);
    fleet.stop().await;
}
