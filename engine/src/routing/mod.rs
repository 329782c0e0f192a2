//! Who should do a task: what agents are, how well they did so far, which of them may not be asked, and
//! what speaks for each of the others. Where agents are kept and how tasks reach them is not its
//! question.

mod breaker;
mod performance;
mod score;
mod words;

pub use breaker::{Breaker, BreakerRules, Standing};
pub use performance::{End, Performance, Smoothing, Track, Work, counted};
pub use score::{
    Candidate, Drained, Excluded, NoWeight, Part, Ranked, Rule, Score, Weights, Wish, excluded,
    rank, score,
};
pub use words::{AgentType, CAPABILITIES, Complexity, Load, Tier};

/// Everything that an installation may have decided otherwise about routing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Routing {
    pub weights: Weights,
    pub smoothing: Smoothing,
    pub breaker: BreakerRules,
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
