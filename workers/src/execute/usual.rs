//! The runtime of agents that name none: what this worker has. It is settled before anything else looks
//! at the attempt.

use jobshop_engine::{
    attempt::{Attempt, Work},
    plan::AgentRuntime,
};

use super::ExecutorConfig;

/// A file to play goes before opencode, and opencode before a command line.
pub(super) fn settle(config: &ExecutorConfig, attempt: &mut Attempt) {
    let Work::Agent(work) = &mut attempt.work else { return };
    if work.runtime != AgentRuntime::Usual {
        return;
    }
    work.runtime = match (&config.agent_script, &config.opencode) {
        (Some(script), _) => {
            work.script = Some(script.display().to_string());
            AgentRuntime::Scripted
        }
        (None, Some(_)) => AgentRuntime::Opencode,
        (None, None) => AgentRuntime::Command,
    };
}
