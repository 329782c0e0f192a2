//! The flow test: random workflows go through the real store and are compared with a reference
//! model, which computes from the prose of the language what every task must come to. The model
//! ([`reference`]) shares no rule with the engine: of it, it knows the names of the states only.

mod build;
pub mod flow;
pub mod generate;
pub mod judge;
pub mod lane;
pub mod lock;
pub mod observe;
pub mod reference;
mod round;
pub mod terms;
pub mod trial;
mod uses;
mod yaml;
