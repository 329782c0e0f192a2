//! New sessions as the columns of the statement that creates them. Who creates them, and when, is not
//! decided here.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{
    blobs, flags,
    places::Place,
    sessions::{CreateError, NewSession},
};
use crate::{
    id::{SessionId, SessionKey},
    plan::{BlockIndex, NodeIndex},
    session::SessionState,
};

/// New sessions as columns.
#[derive(Debug, Default, Clone)]
pub(super) struct Rows {
    tenants: Vec<Uuid>,
    pub(super) ids: Vec<Uuid>,
    versions: Vec<Uuid>,
    pub(super) titles: Vec<String>,
    types: Vec<String>,
    priorities: Vec<i16>,
    prompts: Vec<Option<String>>,
    descriptions: Vec<Option<String>>,
    tags: Vec<String>,
    metadata: Vec<String>,
    pub(super) inputs: Vec<String>,
    file_dirs: Vec<Option<String>>,
    created_by: Vec<Option<String>>,
    open: Vec<i32>,
    total: Vec<i32>,
    row_counts: Vec<i32>,
    fail_fast: Vec<bool>,
    closing: Vec<bool>,
    epilogues: Vec<bool>,
    timeouts: Vec<Option<i64>>,
    start_timeouts: Vec<Option<i64>>,
    schedules: Vec<Option<String>>,
    states: Vec<i16>,
    limited: Vec<bool>,
    /// The places that they need from the start.
    pub(super) places: Vec<Place>,
    /// Some task has to be decided by the control loop from the start.
    pub(super) undecided: bool,
}

impl Rows {
    pub(super) fn of(sessions: &[NewSession]) -> Result<Self, CreateError> {
        let mut rows = Self::default();
        for new in sessions {
            rows.push(new)?;
        }
        Ok(rows)
    }

    /// Adds the sessions of others.
    pub(super) fn append(&mut self, others: &Self) {
        let others = others.clone();
        self.tenants.extend(others.tenants);
        self.ids.extend(others.ids);
        self.versions.extend(others.versions);
        self.titles.extend(others.titles);
        self.types.extend(others.types);
        self.priorities.extend(others.priorities);
        self.prompts.extend(others.prompts);
        self.descriptions.extend(others.descriptions);
        self.tags.extend(others.tags);
        self.metadata.extend(others.metadata);
        self.inputs.extend(others.inputs);
        self.file_dirs.extend(others.file_dirs);
        self.created_by.extend(others.created_by);
        self.open.extend(others.open);
        self.total.extend(others.total);
        self.row_counts.extend(others.row_counts);
        self.fail_fast.extend(others.fail_fast);
        self.closing.extend(others.closing);
        self.epilogues.extend(others.epilogues);
        self.timeouts.extend(others.timeouts);
        self.start_timeouts.extend(others.start_timeouts);
        self.schedules.extend(others.schedules);
        self.states.extend(others.states);
        self.limited.extend(others.limited);
        self.places.extend(others.places);
        self.undecided |= others.undecided;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Adds a session if its inputs fit, and returns its id.
    pub(super) fn push(&mut self, new: &NewSession) -> Result<SessionId, CreateError> {
        let plan = &new.version.plan;
        let inputs =
            crate::workflow::check_inputs(plan, new.inputs.clone()).map_err(CreateError::Inputs)?;
        let id = Uuid::now_v7();
        let root = plan.block(BlockIndex::ROOT);
        let count = |n: usize| i32::try_from(n).expect("a plan has at most 10 000 nodes");
        // What stands under `finally` is counted when the result is decided.
        let is_top = |node: &&NodeIndex| {
            let node = plan.node(**node);
            node.parent.is_none() && !node.finally
        };
        let top = root.nodes.iter().filter(is_top).count();
        let text = id.simple().to_string();
        let title = new.title.clone().unwrap_or_else(|| format!("IND-{}", &text[24..]));
        let key = SessionKey { tenant: new.version.tenant, id: SessionId(id) };
        let place = Place::of(&new.version, key, &title, &inputs)
            .map_err(|failure| CreateError::Inputs(vec![failure.message]))?;
        self.tenants.push(new.version.tenant.0);
        self.ids.push(id);
        self.versions.push(new.version.id.0);
        self.titles.push(title);
        self.types.push(plan.kind.as_str().to_owned());
        self.priorities.push(new.priority.unwrap_or(plan.priority).code());
        self.prompts.push(new.prompt.clone());
        self.descriptions.push(new.description.clone().or_else(|| plan.description.clone()));
        self.tags.push(text_array(&new.tags));
        self.metadata.push(blobs::to_jsonb_text(&Value::Object(new.metadata.clone())));
        self.inputs.push(blobs::to_jsonb_text(&Value::Object(inputs)));
        self.file_dirs.push(new.file_dir.clone());
        self.created_by.push(new.created_by.clone());
        self.open.push(count(top));
        self.total.push(count(plan.executable(BlockIndex::ROOT)));
        self.row_counts.push(count(root.nodes.len()));
        self.fail_fast.push(plan.fail_fast);
        // A session that leaves a place is ended by the control loop, which lets the next one go.
        self.closing.push(plan.needs_closing() || place.is_some());
        self.epilogues.push(plan.has_epilogue());
        self.timeouts.push(plan.timeout.map(|span| span.ms.cast_signed()));
        self.start_timeouts.push(plan.start_timeout.map(|span| span.ms.cast_signed()));
        self.schedules.push(new.schedule.as_ref().map(ToString::to_string));
        let state = if new.start { SessionState::Queued } else { SessionState::Pending };
        self.states.push(state.code());
        self.limited.push(place.is_some());
        self.places.extend(place.filter(|_| new.start));
        self.undecided |= root.nodes.iter().any(|node| {
            plan.node(*node).blockers(plan) == 0 && flags::of_node(plan, *node) & flags::PLAIN == 0
        });
        Ok(SessionId(id))
    }

    /// Writes them, and says when each was created.
    pub(super) async fn insert(
        &self,
        db: impl sqlx::PgExecutor<'_>,
    ) -> sqlx::Result<HashMap<Uuid, DateTime<Utc>>> {
        let rows = sqlx::query_file!(
            "src/store/sql/create.sql",
            &self.tenants,
            &self.ids,
            &self.versions,
            &self.titles,
            &self.types,
            &self.priorities,
            &self.prompts as _,
            &self.descriptions as _,
            &self.tags,
            &self.metadata,
            &self.inputs,
            &self.file_dirs as _,
            &self.created_by as _,
            &self.open,
            &self.total,
            &self.row_counts,
            &self.fail_fast,
            &self.closing,
            &self.timeouts as _,
            &self.schedules as _,
            &self.epilogues,
            &self.states,
            &self.start_timeouts as _,
            &self.limited,
        )
        .fetch_all(db)
        .await?;
        Ok(rows.into_iter().map(|row| (row.id, row.at)).collect())
    }
}

/// A Postgres array literal of texts.
fn text_array(texts: &[String]) -> String {
    let words: Vec<String> = texts
        .iter()
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", words.join(","))
}
