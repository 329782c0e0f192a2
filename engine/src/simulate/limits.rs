//! Time that runs out in a simulated session, and signals that come.

use serde_json::{Value, json};

use super::{
    course::{Course, Event},
    stubs::sample,
};
use crate::{
    approval::{self, Expiry},
    closing::Phase,
    outcome::{ErrorClass, Failure},
    plan::Kind,
    session::SessionState,
    signal,
    task::{Reason, TaskState},
};

impl Course<'_> {
    /// The first thing that begins starts the clock of the session.
    pub(super) fn begin_session(&mut self) {
        if !std::mem::replace(&mut self.has_started, true)
            && let Some(limit) = self.plan.timeout
        {
            self.after(limit.ms, Event::Deadline);
        }
    }

    /// Sets the limit of a group, an approval or a signal.
    pub(super) fn limit(&mut self, at: usize) {
        if let Some(limit) = self.plan.node(self.rows[at].node).timeout {
            self.after(limit.ms, Event::Expires { row: at, again: false });
        }
    }

    pub(super) fn expires(&mut self, at: usize, again: bool) {
        if self.rows[at].state != TaskState::Blocked {
            return;
        }
        let node = self.plan.node(self.rows[at].node);
        let failure = |why: &str| Some(Failure::new(ErrorClass::Timeout, why));
        match (&node.kind, self.rows[at].reason) {
            (Kind::Approval(spec), Some(Reason::Approval)) => {
                match approval::at_timeout(spec, again) {
                    Expiry::Decide(decision) => {
                        self.end_approval(at, decision, approval::BY_TIMEOUT, None);
                    }
                    Expiry::Escalate => {
                        let ms = node.timeout.map_or(0, |limit| limit.ms);
                        self.after(ms, Event::Expires { row: at, again: true });
                    }
                }
            }
            (Kind::WaitFor(_), Some(Reason::Signal)) => {
                self.waiting.retain(|(_, row)| *row != at);
                self.rows[at].error = failure("the signal did not come in time");
                self.end(at, TaskState::Failed, None, false);
            }
            (Kind::Group(_), Some(Reason::Children)) => {
                if let Some(fan) = self.fans.get_mut(&at) {
                    fan.left.clear();
                }
                for inner in 0..self.rows.len() {
                    if self.stands_in(inner, at) {
                        self.end(inner, TaskState::Cancelled, Some(Reason::Timeout), true);
                    }
                }
                self.rows[at].error = failure("the group ran out of time");
                self.end(at, TaskState::Failed, None, false);
            }
            _ => {}
        }
    }

    fn stands_in(&self, row: usize, group: usize) -> bool {
        std::iter::successors(self.rows[row].parent, |at| self.rows[*at].parent)
            .any(|around| around == group)
    }

    /// A ready task has waited too long for a worker.
    pub(super) fn not_started(&mut self, at: usize, attempt: usize) {
        if self.rows[at].state != TaskState::Ready || self.rows[at].attempts != attempt {
            return;
        }
        let limit = self.plan.node(self.rows[at].node).start_timeout;
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let why = format!("it was ready for {limit} and no agent started it (`start_timeout`)");
        self.rows[at].error = Some(Failure::new(ErrorClass::Timeout, why));
        self.end(at, TaskState::Failed, None, false);
    }

    /// The session runs out of time.
    pub(super) fn out_of_time(&mut self) {
        if self.phase == Phase::Tasks && self.result.is_none() {
            self.result = Some(SessionState::Timeout);
            let limit = self.plan.timeout.map(|limit| limit.to_string()).unwrap_or_default();
            let why = format!("the session ran for longer than {limit}");
            self.error = Some(Failure::new(ErrorClass::Timeout, why));
            self.swept = true;
            self.cancel_open(Reason::Timeout);
        }
    }

    pub(super) fn finally_out_of_time(&mut self) {
        if self.phase == Phase::Finally {
            self.cancel_open(Reason::Timeout);
        }
    }

    /// A row waits for a signal. Where nobody says that one is sent, it comes as soon as the row's own
    /// stub says, with what that says.
    pub(super) fn await_signal(&mut self, at: usize, name: String) {
        self.begin_session();
        self.block(at, Reason::Signal);
        self.limit(at);
        while let Some(sent) = self.signals.iter().position(|(sent, _)| *sent == name) {
            // One that does not fit is set aside.
            let (_, data) = self.signals.remove(sent);
            if self.take(at, data) {
                return;
            }
        }
        let is_sent = self.stubs.signals.iter().any(|(sent, _)| *sent == name);
        let stub = self.stubs.of(&self.key(at));
        self.waiting.push((name, at));
        if !is_sent && !stub.is_some_and(|stub| stub.never) {
            let ms = self.duration(at, stub);
            self.rows[at].attempts += 1;
            let attempt = self.rows[at].attempts;
            let schema = self.plan.node(self.rows[at].node).outputs.as_ref();
            let data = stub.and_then(|stub| stub.outputs.clone());
            self.endings.insert(at, Ok(data.unwrap_or_else(|| sample(schema))));
            self.after(ms, Event::Ends { row: at, attempt });
        }
    }

    /// A signal is sent.
    pub(super) fn signal(&mut self, stub: usize) {
        let stubs = self.stubs;
        let (name, sent) = &stubs.signals[stub];
        let data = sent.data.clone().unwrap_or_else(|| json!({}));
        let is_waiting = |(awaited, row): &(String, usize)| {
            awaited == name && self.rows[*row].reason == Some(Reason::Signal)
        };
        match self.waiting.iter().position(is_waiting) {
            // Whoever sends one that does not fit is refused.
            Some(waits) => {
                let at = self.waiting[waits].1;
                if self.take(at, data) {
                    self.waiting.remove(waits);
                }
            }
            None => self.signals.push((name.clone(), data)),
        }
    }

    /// A row takes a signal, if it fits.
    fn take(&mut self, at: usize, data: Value) -> bool {
        let schema = self.plan.node(self.rows[at].node).outputs.as_ref();
        let fits = signal::fits(&data, schema).is_ok();
        if fits {
            self.rows[at].outputs = data;
            self.end(at, TaskState::Completed, None, false);
        }
        fits
    }
}
