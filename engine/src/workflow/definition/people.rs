//! What people are asked, as it is written.

use schemars::JsonSchema;

use super::{At, Text};
use crate::plan::{OnReject, OnTimeout};

/// What people are asked before a task is done.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Approval", deny_unknown_fields)]
pub struct Approval {
    /// Names of keys and roles that may decide; every key that may submit unless given.
    #[schemars(default)]
    pub from: Vec<At<String>>,
    /// How many have to approve; 1 unless given. One rejection decides.
    #[schemars(range(min = 1, max = 1_000), default)]
    pub quorum: Option<At<u32>>,
    /// What they are asked. May hold `${{ }}`.
    #[schemars(default)]
    pub message: Option<Text>,
    #[schemars(default)]
    pub on_reject: OnReject,
    /// What happens when nobody decided in time; reject unless given.
    #[schemars(default)]
    pub on_timeout: Option<At<OnTimeout>>,
    /// Whether the key that submitted the session may not decide.
    #[schemars(rename = "no_self_approval", default)]
    pub no_self: bool,
}
