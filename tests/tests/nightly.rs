//! The shipped nightly batch from its schedule to its end, with a clock that is moved.

use std::time::Duration;

use jobshop_engine::{
    approval::{Decision, Said, Voter},
    id::{SessionId, SessionKey, TenantId},
    role::Role,
    session::SessionState,
    store::{applying, approvals},
};
use jobshop_tests::{Fleet, command_line::shipped, truth, wait};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_night_lands_what_is_approved_and_takes_it_back_when_the_rest_fails() {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let definition = std::fs::read_to_string(shipped("workflows/nightly-batch.yaml")).unwrap();
    let definition = definition.replace("/dev/null", log.to_str().unwrap());
    applying::apply(&fleet.store, TenantId::DEFAULT, &definition, None).await.unwrap();
    // Before there is a worker: its lease would be over.
    fleet.db.advance(Duration::from_hours(25)).await;
    fleet.worker();
    let id: Uuid = wait::until("the night's session", LIMIT, async || {
        sqlx::query_scalar("select id from sessions").fetch_optional(fleet.db.pool()).await.unwrap()
    })
    .await;
    let key = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(id) };
    for (repository, decision) in [("web", Decision::Approve), ("api", Decision::Reject)] {
        let approval: Uuid = wait::until("somebody is asked", LIMIT, async || {
            sqlx::query_scalar("select id from approvals where message like '%' || $1 || '?'")
                .bind(repository)
                .fetch_optional(fleet.db.pool())
                .await
                .unwrap()
        })
        .await;
        let voter = Voter { name: "p", role: Role::Operator };
        let approval = (TenantId::DEFAULT, approval);
        approvals::vote(&fleet.store, approval, voter, decision, Said::Nothing).await.unwrap();
        // The first lands before the second is turned down.
        let line = if decision == Decision::Approve { "land web" } else { "report failed" };
        wait::until(line, LIMIT, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines().any(|it| it == line).then_some(())
        })
        .await;
    }
    assert_eq!(fleet.end_of(key).await, SessionState::Failed);
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[..2].sort_unstable();
    assert_eq!(lines, ["prepare api", "prepare web", "land web", "revert web", "report failed"]);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}
