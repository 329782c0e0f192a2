//! How a simulated session comes to its end: the result, what undoes tasks, `finally`.

use serde_json::{Map, Value};

use super::{
    course::{Course, Event},
    row::Row,
};
use crate::{
    closing::{self, Left, Phase},
    expression,
    outcome::Failure,
    plan::NodeIndex,
    session::{self, SessionState},
    task::TaskState,
};

impl Course<'_> {
    /// Everything of a phase has ended: the next one begins, or the session ends.
    pub(super) fn close(&mut self) {
        let result = self.decide_result();
        let undone = self.to_undo();
        let left = Left {
            compensation: !undone.is_empty(),
            finally: self.plan.finally().next().is_some(),
        };
        match closing::next(self.phase, result, left) {
            Some(Phase::Compensation) => {
                self.result = Some(result);
                self.compensate(&undone);
            }
            Some(_) => {
                self.result = Some(result);
                self.begin_finally();
            }
            None => self.end = Some(result),
        }
    }

    fn decide_result(&mut self) -> SessionState {
        if self.phase > Phase::Tasks {
            let decided = self.result.unwrap_or(SessionState::Failed);
            return closing::after(decided, self.has_failed_since(), self.allowed > 0);
        }
        let state = self.result.unwrap_or_else(|| session::result(self.bad, self.allowed));
        let is_good = matches!(state, SessionState::Completed | SessionState::PartiallyCompleted);
        match self.render_outputs() {
            Ok(outputs) => {
                let has_outputs = !self.plan.outputs.is_empty();
                self.outputs = has_outputs.then_some(Value::Object(outputs));
                state
            }
            Err(failure) if self.result.is_none() && is_good => {
                self.error = Some(failure);
                SessionState::Failed
            }
            Err(_) => state,
        }
    }

    fn render_outputs(&self) -> Result<Map<String, Value>, Failure> {
        let scope = self.values_of_session().scope(self.plan, None);
        let outputs = self.plan.outputs.iter();
        outputs
            .map(|(name, value)| Ok((name.clone(), expression::render_value(value, &scope)?)))
            .collect()
    }

    /// Whether something that ran after the result was decided failed unallowed.
    fn has_failed_since(&self) -> bool {
        self.rows.iter().any(|row| {
            let node = self.plan.node(row.node);
            let is_after = (node.finally && row.parent.is_none()) || row.undoes.is_some();
            let is_allowed = self.plan.is_failure_allowed(row.node);
            is_after
                && ((row.state == TaskState::Failed && !is_allowed)
                    || row.state == TaskState::Cancelled)
        })
    }

    /// The rows that completed and can be undone with what undoes each, the last that ended first.
    fn to_undo(&self) -> Vec<(usize, NodeIndex)> {
        let by = |node: NodeIndex| {
            self.plan.compensations().find(|(task, _)| *task == node).map(|(_, own)| own)
        };
        let mut undone: Vec<(usize, NodeIndex)> = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.state == TaskState::Completed && row.item.is_none())
            .filter_map(|(at, row)| Some((at, by(row.node)?)))
            .collect();
        undone.sort_by_key(|(at, _)| std::cmp::Reverse((self.rows[*at].finished_at, *at)));
        undone
    }

    fn compensate(&mut self, undone: &[(usize, NodeIndex)]) {
        let first = self.rows.len();
        for (n, (at, own)) in undone.iter().enumerate() {
            let base = self.rows[*at].base;
            let mut row = Row::new(*own, None, base, i32::from(n > 0));
            row.undoes = Some(*at);
            if n + 1 < undone.len() {
                row.dependents.push(first + n + 1);
            }
            self.rows.push(row);
        }
        self.phase = Phase::Compensation;
        self.open = i32::try_from(undone.len()).expect("a session is limited");
        self.undecided.insert(first);
    }

    fn begin_finally(&mut self) {
        self.phase = Phase::Finally;
        let tops: Vec<NodeIndex> = self.plan.finally().collect();
        self.open = i32::try_from(tops.len()).expect("a plan has at most 10 000 nodes");
        let before = (0..self.rows.len()).filter(|at| self.rows[*at].finished_at.is_some());
        let last = before.max_by_key(|at| (self.rows[*at].finished_at, *at)).unwrap_or(0);
        for node in tops {
            if self.plan.node(node).needs.is_empty() {
                let at = usize::try_from(self.plan.node(node).position).unwrap_or_default();
                self.need_ended(at, last, true, false);
            }
        }
        self.after(self.plan.finally_timeout().ms, Event::FinallyLimit);
    }
}
