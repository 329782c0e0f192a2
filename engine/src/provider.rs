//! Providers of models, as a fleet of agents shares them: who may call when. It does not know how a
//! call is made, nor where what is known of a provider is kept.

mod gate;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::attempt::AgentWork;

pub use self::gate::{Answer, Breaker, Gate};

/// What is called: a provider's model under an account. Each has a gate of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProviderKey {
    pub provider: String,
    /// Whose quota it is, as the operator names it: `default` unless a worker says otherwise.
    pub account: String,
    pub model: String,
}

impl ProviderKey {
    /// The account of workers that name none.
    pub const DEFAULT_ACCOUNT: &str = "default";

    /// What is meant by `provider/model`; `None` where that names no provider.
    pub fn of_model(model: &str, account: &str) -> Option<Self> {
        let (provider, model) = model.split_once('/')?;
        let has_both = !provider.is_empty() && !model.is_empty();
        has_both.then(|| Self::new(provider, model, account))
    }

    /// What an agent calls with this model. Where that names no provider, the runtime stands for it;
    /// a program whose model is not named calls nothing that we know of.
    pub fn of_work(work: &AgentWork, model: Option<&str>, account: &str) -> Option<Self> {
        let runtime = work.runtime.as_str();
        match model {
            Some(model) => Some(
                Self::of_model(model, account)
                    .unwrap_or_else(|| Self::new(runtime, model, account)),
            ),
            None if work.runtime.converses() => Some(Self::new(runtime, "default", account)),
            None => None,
        }
    }

    fn new(provider: &str, model: &str, account: &str) -> Self {
        let [provider, model, account] = [provider, model, account].map(str::to_owned);
        Self { provider, account, model }
    }
}

impl fmt::Display for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)?;
        if self.account != Self::DEFAULT_ACCOUNT {
            write!(f, " (account {})", self.account)?;
        }
        Ok(())
    }
}

/// What an account may take of a model in a minute; `None` is not limited by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quota {
    /// Turns of agents that begin.
    pub turns: Option<u32>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
}
