//! Sessions whose ready tasks nobody can run.

use std::time::Duration;

use jobshop_engine::store::{control, workers};
use serde_json::json;

use crate::stand::Stand;

const PICKY: &str = "
version: 1
name: picky
tasks:
  a: { requires: [gpu, rust], uses: builtin/noop }
";

#[tokio::test]
async fn without_an_agent_for_a_minute_a_session_is_degraded_and_heals_by_itself() {
    let mut stand = Stand::new().await;
    let rust = stand.hire(&["rust"]).await;
    let id = stand.submit(PICKY).await;
    let watch = async |stand: &Stand| control::watch_agents(&stand.app.store).await.unwrap();
    assert_eq!(watch(&stand).await, 0);
    stand.app.db.advance(Duration::from_secs(20)).await;
    rust.renew().await;
    stand.app.db.advance(Duration::from_secs(20)).await;
    rust.renew().await;
    assert_eq!(watch(&stand).await, 0, "not yet");
    stand.app.db.advance(Duration::from_secs(25)).await;
    rust.renew().await;
    assert_eq!(watch(&stand).await, 1);
    let session = stand.session(&id).await;
    assert_eq!(session["status"], "degraded");
    assert_eq!(session["status_reason"], "no agent offers gpu");
    assert_eq!(stand.event(&id, "session.degraded").await["data"], json!({ "missing": ["gpu"] }));
    assert_eq!(stand.why(&id).await["reasons"][0]["code"], "session_degraded");
    assert_eq!(watch(&stand).await, 0, "once");

    stand.player = Some(stand.hire(&["gpu", "rust"]).await);
    assert_eq!(watch(&stand).await, 1);
    assert_eq!(stand.status(&id).await, "queued");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
    workers::end(&stand.app.store.pool, rust.id).await.unwrap();
}

#[tokio::test]
async fn a_degraded_session_can_be_paused_and_ends_as_any_other() {
    let mut stand = Stand::new().await;
    let id = stand.submit(PICKY).await;
    control::watch_agents(&stand.app.store).await.unwrap();
    stand.app.db.advance(Duration::from_secs(61)).await;
    assert_eq!(control::watch_agents(&stand.app.store).await.unwrap(), 1);
    stand.player = Some(stand.hire(&["*"]).await);
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed", "also without having healed");

    let paused = stand.submit(PICKY).await;
    workers::end(&stand.app.store.pool, stand.player.take().unwrap().id).await.unwrap();
    control::watch_agents(&stand.app.store).await.unwrap();
    stand.app.db.advance(Duration::from_secs(61)).await;
    control::watch_agents(&stand.app.store).await.unwrap();
    assert_eq!(stand.status(&paused).await, "degraded");
    stand.acts(&paused, "pause").await;
    stand.settle().await;
    assert_eq!(stand.acts(&paused, "resume").await["status"], "queued");
    stand.acts(&paused, "stop").await;
    stand.settle().await;
    assert_eq!(stand.status(&paused).await, "stopped");
}
