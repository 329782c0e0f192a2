//! Which nodes of a plan stand under budgets, and what an attempt at one puts aside. What runs once
//! the result is decided stands under none: no budget keeps a session from cleaning up.

use super::{Builtin, Kind, Node, NodeIndex, Plan};
use crate::budget::{Budget, Caps, Dimension, Need, micros};

const WALL_TIME: usize = Dimension::WallTime as usize;

impl Plan {
    /// The budgets around a node, its own included, from the inside out; without that of the workflow.
    pub fn budgets_around(&self, node: NodeIndex) -> impl Iterator<Item = (NodeIndex, &Budget)> {
        let around = std::iter::successors(Some(node), |inner| self.node(*inner).parent);
        around.filter_map(|index| Some((index, self.node(index).budget.as_ref()?)))
    }

    /// Whether an attempt at the node has to put something aside first.
    pub fn is_budgeted(&self, node: NodeIndex) -> bool {
        let own = self.node(node).budget;
        let around = self.budgets_around(node).map(|(_, budget)| budget).chain(&self.budget);
        let mut limited = [false; 3];
        for budget in around {
            for (is_limited, limit) in limited.iter_mut().zip(budget.limits) {
                *is_limited |= limit.is_some();
            }
        }
        self.node(node).spends(limited, own.is_some())
    }

    /// Whether any budget stands around a node, that of the workflow included.
    pub fn has_budget_around(&self, node: NodeIndex) -> bool {
        self.budget.is_some() || self.budgets_around(node).next().is_some()
    }

    /// The nodes that have to put something aside where these are limited from outside.
    pub fn spenders(&self, limited: [bool; 3]) -> Vec<NodeIndex> {
        let all = (0..self.nodes.len()).filter_map(|index| u32::try_from(index).ok());
        all.map(NodeIndex).filter(|index| self.node(*index).spends(limited, false)).collect()
    }
}

impl Node {
    /// Only agents take tokens and money; a command does where it has a budget of its own, and says
    /// so in its outputs.
    fn spends(&self, limited: [bool; 3], is_own: bool) -> bool {
        if self.finally || self.compensates.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Agent(_) => limited.contains(&true),
            Kind::Run(_) | Kind::Builtin(Builtin::Http(_) | Builtin::Merge { .. }) => {
                limited[WALL_TIME] || (is_own && limited.contains(&true))
            }
            Kind::Builtin(Builtin::Noop | Builtin::Fail { .. })
            | Kind::Sleep(_)
            | Kind::Session(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => false,
        }
    }

    /// What an attempt puts aside, where budgets say that much for those who say nothing themselves.
    pub fn need(&self, shares: Caps) -> Need {
        let said: Caps = match &self.kind {
            Kind::Agent(agent) => [
                agent.limits.tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX)),
                agent.limits.usd.map(micros),
                None,
            ],
            Kind::Run(_)
            | Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Session(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => [None; 3],
        };
        let is_agent = matches!(self.kind, Kind::Agent(_));
        let mut need = Need { most: [0; 3], strict: said.map(|it| it.is_some()) };
        for of in 0..3 {
            let Some(share) = shares[of] else { continue };
            // A command takes neither tokens nor money unless it has a budget of its own for them.
            let own = self.budget.and_then(|budget| budget.limits[of]);
            need.most[of] = match said[of] {
                Some(said) => said,
                None if of == WALL_TIME => {
                    let timeout = self.timeout.and_then(|span| i64::try_from(span.ms).ok());
                    timeout.map_or(share, |timeout| own.map_or(timeout, |own| own.min(timeout)))
                }
                None if is_agent || own.is_some() => share,
                None => 0,
            };
        }
        need
    }
}
