//! What starts sessions of a workflow by itself, as it is written.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Any, At, Entries};
use crate::{
    duration::Span,
    schedule::{CatchUp, Cron, Overlap},
};

/// What starts sessions of a workflow once it was applied.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Triggers", deny_unknown_fields)]
pub struct Triggers {
    /// Times at which a session starts.
    #[schemars(default)]
    pub schedule: Vec<At<Trigger>>,
}

/// Times at which a session starts.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Schedule", deny_unknown_fields)]
pub struct Trigger {
    /// How it is called among the schedules of the workflow.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,63}$"))]
    pub id: At<String>,
    /// Minute, hour, day of month, month, day of week.
    pub cron: Cron,
    /// The IANA zone of the cron; UTC unless given.
    #[schemars(default)]
    pub timezone: Option<Zone>,
    /// The inputs of its sessions.
    #[schemars(default)]
    pub with: Option<At<Entries<Any>>>,
    /// What happens while a session of it has not ended; skip unless given.
    #[schemars(default)]
    pub overlap: Overlap,
    /// Which fires that nobody saw are made up for; latest unless given.
    #[schemars(default)]
    pub catch_up: CatchUp,
    /// Fires that nobody saw are made up for this long; 365d unless given.
    #[schemars(default)]
    pub catch_up_window: Option<Span>,
    /// Every fire is late by less than this, always by as much.
    #[schemars(default)]
    pub jitter: Option<Span>,
    /// Pauses after so many failures in a row.
    #[schemars(range(min = 1), default)]
    pub pause_after: Option<u32>,
    /// Ends after so many sessions.
    #[schemars(range(min = 1), default)]
    pub max_runs: Option<u32>,
    /// Nothing fires before.
    #[schemars(default)]
    pub start: Option<At<DateTime<Utc>>>,
    /// Nothing fires after.
    #[schemars(default)]
    pub until: Option<At<DateTime<Utc>>>,
}

/// A zone by its IANA name.
#[derive(Debug, Clone, Copy)]
pub struct Zone(pub Tz);

impl JsonSchema for Zone {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl JsonSchema for Cron {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cron".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
