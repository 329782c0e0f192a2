//! Real processes when a person ends their session: how soon a cancel is acknowledged and its process
//! groups are gone, and what becomes of a command that does not want to stop.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use jobshop_api::App;
use jobshop_engine::{
    id::SessionKey,
    session::SessionState,
    store::steer::{self, By},
    task::{Reason, TaskState},
};
use jobshop_tests::{Fleet, app::TOKEN, wait};
use nix::{sys::signal::killpg, unistd::Pid};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

const SESSIONS: usize = 20;
const ACKNOWLEDGED: Duration = Duration::from_millis(200);
const GONE: Duration = Duration::from_secs(5);

/// A command, with a process that it started, which writes down its group and does not heed SIGTERM.
fn stubborn(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "
version: 1
name: stubborn
tasks:
  a:
    env: {{ FOLDER: \"{folder}\" }}
    run: |
      trap '' TERM
      sleep 600 &
      cut -d' ' -f5 /proc/$$/stat > \"$FOLDER/new-$JOBSHOP_SESSION\"
      mv \"$FOLDER/new-$JOBSHOP_SESSION\" \"$FOLDER/$JOBSHOP_SESSION\"
      while :; do sleep 600; done
finally:
  last: {{ run: 'true' }}
"
    )
}

/// The process group of a session's command, once it runs.
async fn group(folder: &Path, key: SessionKey) -> Pid {
    let file = folder.join(key.id.to_string());
    wait::until("the start of the command", wait::LIMIT, async || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    })
    .await
}

fn is_gone(group: Pid) -> bool {
    killpg(group, None).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_acknowledged_at_once_and_its_processes_are_gone_soon() {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker_with(|config| config.concurrency = SESSIONS);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/sessions", listener.local_addr().unwrap());
    let (app, stop) = (App::new(fleet.store.clone(), TOKEN.into()), CancellationToken::new());
    let mut server = JoinSet::new();
    server.spawn(jobshop_api::serve(listener, app, stop.clone()));
    let folder = tempfile::tempdir().unwrap();
    let definition = stubborn(folder.path());
    let mut running = Vec::new();
    for _ in 0..SESSIONS {
        running.push(fleet.submit(&definition, Value::Null).await);
    }
    let http = reqwest::Client::new();
    let (mut acknowledged, mut left) = (Vec::new(), Vec::new());
    for key in running {
        let group = group(folder.path(), key).await;
        let request = http.post(format!("{url}/{}/cancel", key.id)).bearer_auth(TOKEN);
        let began = Instant::now();
        let answer = request.json(&json!({})).send().await.unwrap();
        acknowledged.push(began.elapsed());
        assert_eq!(answer.status(), 200);
        let session: Value = answer.json().await.unwrap();
        assert_eq!(session["status"], "cancelled");
        left.push((group, Instant::now()));
    }
    acknowledged.sort_unstable();
    let median = acknowledged[SESSIONS / 2];
    assert!(median <= ACKNOWLEDGED, "half of the answers took {median:?}: {acknowledged:?}");
    wait::until("the end of the process groups", GONE + Duration::from_secs(1), async || {
        left.retain(|(group, since)| {
            let is_gone = is_gone(*group);
            assert!(is_gone || since.elapsed() <= GONE, "{group} lives {:?}", since.elapsed());
            !is_gone
        });
        left.is_empty().then_some(())
    })
    .await;
    stop.cancel();
    server.join_all().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_stop_is_killed_when_its_time_is_over() {
    const GRACE: Duration = Duration::from_secs(2);
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker_with(|config| config.stop_grace = GRACE);
    let folder = tempfile::tempdir().unwrap();
    let key = fleet.submit(&stubborn(folder.path()), Value::Null).await;
    let group = group(folder.path(), key).await;
    let began = Instant::now();
    steer::stop(&fleet.store, key, By::default()).await.unwrap();
    wait::until("the end of the process group", GRACE + GONE, async || {
        is_gone(group).then_some(())
    })
    .await;
    assert!(began.elapsed() >= GRACE, "it was killed after {:?}", began.elapsed());
    assert_eq!(fleet.end_of(key).await, SessionState::Stopped);
    let rows = fleet.rows(key).await;
    let ends: Vec<_> = rows.iter().map(|row| (row.state, row.reason)).collect();
    let stopped = (TaskState::Cancelled, Some(Reason::SessionStopped));
    assert_eq!(ends, [stopped, (TaskState::Completed, None)]);
    fleet.stop().await;
}
