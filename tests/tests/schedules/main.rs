//! Schedules against a real database whose clock the tests move: what fires, what does not, and
//! that five processes at once make neither more nor less of it.

#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod actors;
mod api;
mod decisions;
mod forgotten;
mod frozen;
mod many;
mod person;

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobshop_engine::{
    id::{SessionId, SessionKey, TenantId},
    store::{
        Store, Views, applying, control,
        schedule_view::{FireObject, ScheduleObject},
        sessions,
    },
};
use jobshop_tests::Stage;

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A stage with a frozen clock and one workflow with one schedule, `nap/it`.
pub(crate) struct Clockwork {
    pub(crate) stage: Stage,
}

impl Clockwork {
    /// At 2026-01-05T09:30Z, a Monday.
    pub(crate) async fn new(schedule: &str) -> Self {
        let stage = Stage::new().await;
        stage.db.freeze_clock(at("2026-01-05T09:30:00Z")).await;
        let this = Self { stage };
        this.apply(&[schedule]).await;
        this
    }

    /// Applies the workflow with these schedules. Its sessions take half an hour.
    pub(crate) async fn apply(&self, schedules: &[&str]) {
        let mut definition = "version: 1\nname: nap\ninputs: { nap: { default: 30m } }\n\
                              tasks: { a: { sleep: \"${{ inputs.nap }}\" } }\n"
            .to_owned();
        if !schedules.is_empty() {
            definition.push_str("triggers:\n  schedule:\n");
            definition.extend(schedules.iter().map(|schedule| format!("    - {schedule}\n")));
        }
        applying::apply(&self.stage.store, TenantId::DEFAULT, &definition, None).await.unwrap();
    }

    /// Moves the clock and lets everything happen that is due.
    pub(crate) async fn after(&self, by: Duration) {
        self.stage.db.advance(by).await;
        self.stage.settle().await;
    }

    pub(crate) fn views(&self) -> Views {
        Views::new(&self.stage.store, TenantId::DEFAULT)
    }

    pub(crate) async fn schedule(&self) -> ScheduleObject {
        self.views().schedule(&"nap/it".parse().unwrap()).await.unwrap()
    }

    /// Everything that became of the schedule's times, oldest first: `started 10:00`.
    pub(crate) async fn told(&self) -> Vec<String> {
        let told =
            |fire: &FireObject| format!("{} {}", fire.status, fire.fire_time.format("%H:%M"));
        self.fires().await.iter().map(told).collect()
    }

    pub(crate) async fn fires(&self) -> Vec<FireObject> {
        let id = "nap/it".parse().unwrap();
        let mut fires = self.views().schedule_fires(&id, None, Some(1_000)).await.unwrap().items;
        fires.reverse();
        fires
    }

    /// The statuses of the sessions that it started, oldest fire first.
    pub(crate) async fn sessions(&self) -> Vec<String> {
        let mut states = Vec::new();
        for id in self.fires().await.iter().filter_map(|fire| fire.session_id) {
            let key = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(id) };
            let state = sessions::state(&self.stage.store.pool, key).await.unwrap().unwrap();
            states.push(state.to_string());
        }
        states
    }
}

/// Lets everything happen that is due, as one of several processes.
pub(crate) async fn settle(store: &Store) {
    while control::tick(store).await.unwrap() > 0 {}
}
