//! The id of a schedule, `WORKFLOW/NAME`: how people, the API and rows name it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// `WORKFLOW/NAME`, both checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ScheduleId(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not the id of a schedule: write WORKFLOW/NAME, each of 1 to 64 lower-case letters, digits and dashes (`_` in NAME too)"
)]
pub struct NotAScheduleId(String);

impl ScheduleId {
    pub fn new(workflow: &str, name: &str) -> Result<Self, NotAScheduleId> {
        let is_workflow = !workflow.contains('_') && is_schedule_name(workflow);
        let id = format!("{workflow}/{name}");
        if is_workflow && is_schedule_name(name) { Ok(Self(id)) } else { Err(NotAScheduleId(id)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The workflow that it starts.
    pub fn workflow(&self) -> &str {
        self.0.split_once('/').map_or("", |(workflow, _)| workflow)
    }

    /// How it is called among the schedules of its workflow.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

/// Whether a trigger can be called like this.
pub fn is_schedule_name(text: &str) -> bool {
    let is_start = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(is_start)
        && text.bytes().all(|b| is_start(b) || b == b'-' || b == b'_')
}

impl FromStr for ScheduleId {
    type Err = NotAScheduleId;

    fn from_str(text: &str) -> Result<Self, NotAScheduleId> {
        let (workflow, name) =
            text.split_once('/').ok_or_else(|| NotAScheduleId(text.to_owned()))?;
        Self::new(workflow, name)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ScheduleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_workflow_and_a_name() {
        let id: ScheduleId = "ship-batch/nightly_2".parse().unwrap();
        assert_eq!((id.workflow(), id.name()), ("ship-batch", "nightly_2"));
        for text in ["ship", "ship/", "/nightly", "a/b/c", "Ship/x", "a_b/c", "ship/-x"] {
            assert!(text.parse::<ScheduleId>().is_err(), "{text}");
        }
    }
}
