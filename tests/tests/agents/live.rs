//! What is seen of agents that work: what they changed so far, and whether it can be merged.

use jobshop_engine::{
    event::EventKind,
    store::{sessions, view::Views},
};
use jobshop_tests::{model_server::Step, wait};
use serde_json::Value;

use crate::stand::{LIMIT, Stand, task};

#[tokio::test(flavor = "multi_thread")]
async fn siblings_that_contradict_each_other_are_told_while_both_work() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.worker();
    let steps =
        |text: &str| [Step::Write { path: "README".into(), content: text.into() }, Step::Stall];
    let tasks = task("one", &steps("one\n"), "") + &task("two", &steps("two\n"), "");
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    let views = Views::new(&stand.fleet.store, key.tenant);
    let found =
        wait::until("a conflict", LIMIT, async || views.conflicts(key, None).await.unwrap().pop())
            .await;
    assert_eq!((found.task.as_str(), found.with.as_deref()), ("two", Some("one")));
    assert_eq!(found.files, ["README"]);
    let diff = views.diff(key, None).await.unwrap();
    assert_eq!(diff.changes.len(), 2, "{diff:?}");
    assert_eq!(diff.changes[0].files[0].path, "README");
    let events = stand.fleet.events(key).await;
    assert!(events.iter().any(|event| event.1 == EventKind::ConflictDetected.code()));
    sessions::cancel(&stand.fleet.store, key, None, None).await.unwrap();
    stand.end_of(key).await;
    stand.fleet.stop().await;
}
