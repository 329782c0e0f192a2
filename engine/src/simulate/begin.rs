//! How rows of a simulated session begin and end: decided by the rules of every session, with ends
//! that are made up.

use serde_json::Value;
use uuid::Uuid;

use super::{
    course::{Course, Ending, Event},
    row::Fan,
    stubs::{DecisionStub, TaskStub, sample},
};
use crate::{
    approval,
    attempt::{self, Identity, Work},
    expression,
    flow::{self, AfterRound, Decision, Needs},
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure, check_outputs},
    plan::{Builtin, Join, Kind},
    task::{Reason, TaskState},
};

/// Crashes after which a task fails.
const CRASH_LIMIT: usize = 3;
/// Where the fraction of a jitter stands: in the middle.
const CHANCE: f64 = 0.5;

impl Course<'_> {
    /// Decides a row whose needs let it go, or in which everything has ended.
    pub(super) fn decide(&mut self, at: usize) {
        if self.rows[at].waits_for_children() {
            self.decide_end(at);
            return;
        }
        let plan = self.plan;
        let (index, bad) = (self.rows[at].node, self.rows[at].bad);
        let needs = Needs { bad, any_good: self.has_a_good_need(at) };
        let decision = flow::decide(plan, index, needs, &self.values(at));
        if !matches!(decision, Decision::Skip(_) | Decision::Fail(_)) {
            self.rows[at].begun_at = Some(self.now);
        }
        match decision {
            Decision::Ready => self.ready(at),
            Decision::Skip(reason) => self.left_out(at, TaskState::Skipped, reason),
            Decision::Fail(failure) => {
                self.rows[at].error = Some(failure);
                self.left_out(at, TaskState::Failed, Reason::UpstreamFailed);
            }
            Decision::Sleep(ms) => {
                self.block(at, Reason::Sleep);
                self.after(ms, Event::Wakes { row: at, attempt: 0 });
            }
            Decision::Ask(_) => self.ask(at),
            Decision::Await(name) => self.await_signal(at, name),
            Decision::Child => self.begin_child(at),
            Decision::Start { children, opened } => {
                self.begin_group(at, children);
                let base = self.rows[at].base;
                for child in opened {
                    let position = usize::try_from(plan.node(child).position).unwrap_or_default();
                    self.need_ended(base + position, at, true, false);
                }
            }
            Decision::Complete => {
                self.begin_group(at, 0);
                self.undecided.insert(at);
            }
            Decision::Expand(items) => {
                let group = plan.group(index).and_then(|group| group.for_each.as_ref());
                let most = group.and_then(|each| each.max_parallel).map(|most| most as usize);
                let count = items.len();
                self.fan(at, items, false);
                for _ in 0..most.unwrap_or(count).min(count) {
                    self.lay_next(at, None);
                }
            }
            Decision::Repeat => {
                self.fan(at, vec![("1".to_owned(), 1.into())], true);
                self.lay_next(at, None);
            }
        }
    }

    fn fan(&mut self, at: usize, mut items: Vec<(String, Value)>, is_loop: bool) {
        self.begin_group(at, i32::try_from(items.len()).expect("a fan-out is limited"));
        items.reverse();
        self.fans.insert(at, Fan { firsts: Vec::new(), left: items, is_loop });
    }

    fn begin_group(&mut self, at: usize, children: i32) {
        self.block(at, Reason::Children);
        (self.rows[at].blockers, self.rows[at].bad) = (children, 0);
        self.limit(at);
    }

    pub(super) fn block(&mut self, at: usize, reason: Reason) {
        (self.rows[at].state, self.rows[at].reason) = (TaskState::Blocked, Some(reason));
    }

    /// Skips or fails a row that does not begin, and skips what is in it.
    fn left_out(&mut self, at: usize, state: TaskState, reason: Reason) {
        let base = self.rows[at].base;
        for inner in flow::inside(self.plan, self.rows[at].node) {
            let position = usize::try_from(self.plan.node(inner).position).unwrap_or_default();
            self.end(base + position, TaskState::Skipped, Some(reason), true);
        }
        self.end(at, state, (state == TaskState::Skipped).then_some(reason), false);
    }

    /// Whether some need was good, as far as the join asks for it.
    fn has_a_good_need(&self, at: usize) -> bool {
        let row = &self.rows[at];
        let node = self.plan.node(row.node);
        if node.join != Join::Any || row.blockers > 0 || node.needs.is_empty() {
            return true;
        }
        node.needs.iter().any(|need| {
            let spec = self.plan.node(*need);
            let need = row.base + usize::try_from(spec.position).unwrap_or_default();
            let state = self.rows[need].state;
            state == TaskState::Completed
                || (state == TaskState::Failed && spec.continue_on_failure)
        })
    }

    /// What a group, item or round comes to.
    fn decide_end(&mut self, at: usize) {
        let row = &self.rows[at];
        let (bad, error) = (row.bad, row.error.clone());
        let (state, failure) = if row.item.is_some() {
            let children = self.rows.iter().filter(|child| child.parent == Some(at));
            let mut children = children.peekable();
            let is_empty = children.peek().is_none();
            let all_skipped = !is_empty && children.all(|it| it.state == TaskState::Skipped);
            flow::end_of_item(bad, all_skipped)
        } else if let Some(after) = self.after_round(at) {
            match after {
                AfterRound::Another => {
                    self.another_round(at);
                    return;
                }
                AfterRound::End(state, failure) => (state, failure),
            }
        } else {
            flow::end_of_group(bad, error)
        };
        self.rows[at].error = failure;
        self.end(at, state, None, false);
    }

    fn after_round(&self, at: usize) -> Option<AfterRound> {
        let row = &self.rows[at];
        let rounds = self.plan.group(row.node)?.rounds.as_ref()?;
        let last = *self.fans.get(&at)?.firsts.last()?;
        if row.bad > 0 || row.error.is_some() {
            return None;
        }
        let number = self.rows[last].item.as_ref()?.0.parse().ok()?;
        let values = self.values_of_round(row.node, &rounds.references, last);
        Some(flow::after_round(rounds, number, &values.scope_of_round(self.plan, row.node)))
    }

    fn another_round(&mut self, at: usize) {
        let Some(fan) = self.fans.get_mut(&at) else { return };
        let last = fan.firsts.last().copied();
        let next = fan.firsts.len() + 1;
        fan.left.push((next.to_string(), next.into()));
        self.rows[at].blockers = 1;
        self.lay_next(at, last);
    }

    pub(super) fn ready(&mut self, at: usize) {
        let node = self.plan.node(self.rows[at].node);
        let offset = node.priority.unwrap_or(self.plan.priority).offset_secs() * 1_000;
        (self.rows[at].state, self.rows[at].reason) = (TaskState::Ready, None);
        self.queue.insert((self.now.cast_signed() + offset, at));
        self.rows[at].ready_at = self.now;
        if let Some(limit) = node.start_timeout {
            let attempt = self.rows[at].attempts;
            self.after(limit.ms, Event::StartLimit { row: at, attempt });
        }
    }

    /// Starts the ready row that is first in line, if a worker is free.
    pub(super) fn start_next(&mut self) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some((_, at)) = self.queue.pop_first() else { return false };
        if self.rows[at].state != TaskState::Ready {
            return true;
        }
        self.busy += 1;
        self.begin_session();
        let freed = self.freed;
        let row = &mut self.rows[at];
        row.state = TaskState::InProgress;
        row.holds_worker = true;
        if row.attempts == 0 && row.ready_at < self.now {
            row.made_room = freed;
        }
        row.started_at.get_or_insert(self.now);
        self.attempt(at);
        true
    }

    /// Begins an attempt of a row, of which it is known what it comes to.
    pub(super) fn attempt(&mut self, at: usize) {
        self.rows[at].attempts += 1;
        let (ms, ending) = self.ending(at);
        let attempt = self.rows[at].attempts;
        self.endings.insert(at, ending);
        self.after(ms, Event::Ends { row: at, attempt });
    }

    fn ending(&mut self, at: usize) -> (u64, Ending) {
        let plan = self.plan;
        let index = self.rows[at].node;
        let node = plan.node(index);
        let work = match &node.kind {
            Kind::Session(child) => {
                let scope = self.values(at).scope(plan, Some(index));
                let mut with = child.with.iter();
                with.try_for_each(|(_, value)| expression::render_value(value, &scope).map(drop))
                    .map(|()| Work::Noop)
            }
            Kind::Run(_)
            | Kind::Agent(_)
            | Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => {
                let identity = identity(self.key(at), self.rows[at].attempts);
                attempt::prepare(plan, index, &self.values(at), identity).map(|made| made.work)
            }
        };
        let work = match work {
            Ok(work) => work,
            Err(failure) => return (0, Err(failure)),
        };
        let key = self.key(at);
        let stub = self.stubs.of(&key);
        let ms = self.duration(at, stub);
        if let Some(limit) = node.timeout.filter(|limit| limit.ms < ms) {
            let why = format!("it ran for longer than {limit}");
            return (limit.ms, Err(Failure::new(ErrorClass::Timeout, why)));
        }
        let failure = stub.and_then(|stub| stub.failure(self.rows[at].attempts));
        let own = if let Work::Fail(class, message) = work { Some((class, message)) } else { None };
        match failure.or(own) {
            Some((class, message)) => (ms, Err(Failure::new(class, message))),
            None => (ms, self.put_out(at, stub)),
        }
    }

    /// How long an attempt takes: what its stub says, else its estimate, else no time.
    pub(super) fn duration(&mut self, at: usize, stub: Option<&TaskStub>) -> u64 {
        let node = self.plan.node(self.rows[at].node);
        if let Some(duration) = stub.and_then(|stub| stub.duration) {
            return duration.ms;
        }
        let Some(estimate) = node.estimate else { return 0 };
        self.rows[at].variance += estimate.deviation_ms().powi(2);
        rounded(estimate.expected_ms())
    }

    /// What a successful attempt puts out.
    fn put_out(&self, at: usize, stub: Option<&TaskStub>) -> Ending {
        let node = self.plan.node(self.rows[at].node);
        let given = stub.and_then(|stub| stub.outputs.clone());
        let is_merge = matches!(node.kind, Kind::Builtin(Builtin::Merge { .. }));
        let usual = || if is_merge { merged() } else { sample(node.outputs.as_ref()) };
        let mut outputs = given.unwrap_or_else(usual);
        check_outputs(&outputs, node.outputs.as_ref())
            .map_err(|why| Failure::new(ErrorClass::Schema, why))?;
        if let (Kind::Run(_), Value::Object(map)) = (&node.kind, &mut outputs) {
            map.entry("exit_code").or_insert_with(|| 0.into());
        }
        Ok(outputs)
    }

    /// An attempt comes to its end.
    pub(super) fn ends(&mut self, at: usize, attempt: usize) {
        let row = &self.rows[at];
        let is_under_way = row.state == TaskState::InProgress
            || (row.state == TaskState::Blocked
                && matches!(row.reason, Some(Reason::Child | Reason::Signal)));
        if !is_under_way || row.attempts != attempt {
            self.decided(at);
            return;
        }
        self.waiting.retain(|(_, row)| *row != at);
        let Some(ending) = self.endings.remove(&at) else { return };
        match ending {
            Ok(outputs) => {
                (self.rows[at].outputs, self.rows[at].error) = (outputs, None);
                self.end(at, TaskState::Completed, None, false);
            }
            Err(failure) => self.attempt_failed(at, failure),
        }
    }

    fn attempt_failed(&mut self, at: usize, failure: Failure) {
        let node = self.plan.node(self.rows[at].node);
        let is_child = node.child().is_some();
        let row = &mut self.rows[at];
        if std::mem::take(&mut row.holds_worker) {
            self.busy -= 1;
            self.freed = Some(at);
        }
        if failure.class == ErrorClass::Crash {
            row.crashes += 1;
            if row.crashes < CRASH_LIMIT && !is_child {
                self.ready(at);
                return;
            }
        } else {
            row.failures += 1;
            if let Some(delay) = node.retry.next_delay(failure.class, row.failures, CHANCE) {
                row.error = Some(failure);
                let attempt = row.attempts;
                self.block(at, Reason::Backoff);
                self.after(delay.ms, Event::Wakes { row: at, attempt });
                return;
            }
        }
        row.error = Some(failure);
        // What it put out nevertheless counts where its failure is allowed.
        if let Some(outputs) = self.stubs.of(&self.key(at)).and_then(|stub| stub.outputs.clone()) {
            self.rows[at].outputs = outputs;
        }
        self.end(at, TaskState::Failed, None, false);
    }

    /// A sleep or a back-off is over.
    pub(super) fn wakes(&mut self, at: usize, attempt: usize) {
        let row = &self.rows[at];
        if row.state != TaskState::Blocked || row.attempts != attempt {
            return;
        }
        match row.reason {
            Some(Reason::Sleep) => {
                self.rows[at].outputs = serde_json::json!({});
                self.end(at, TaskState::Completed, None, false);
            }
            Some(Reason::Backoff) if self.plan.node(row.node).child().is_some() => {
                self.begin_child(at);
            }
            Some(Reason::Backoff) => self.ready(at),
            _ => {}
        }
    }

    fn begin_child(&mut self, at: usize) {
        self.begin_session();
        self.block(at, Reason::Child);
        self.rows[at].started_at.get_or_insert(self.now);
        self.attempt(at);
    }

    fn ask(&mut self, at: usize) {
        self.begin_session();
        self.block(at, Reason::Approval);
        let stub = self.stubs.of(&self.key(at));
        let decides = stub.and_then(|stub| stub.decision).is_none_or(|it| it.decision().is_some());
        let ms = self.duration(at, stub);
        if decides {
            let attempt = self.rows[at].attempts;
            self.after(ms, Event::Ends { row: at, attempt });
        }
        self.limit(at);
    }

    /// People have decided.
    fn decided(&mut self, at: usize) {
        if self.rows[at].reason != Some(Reason::Approval) {
            return;
        }
        let stub = self.stubs.of(&self.key(at));
        let decision = stub.and_then(|stub| stub.decision).and_then(DecisionStub::decision);
        let by = stub.and_then(|stub| stub.by.clone()).unwrap_or_else(|| "somebody".to_owned());
        let comment = stub.and_then(|stub| stub.comment.clone());
        let decision = decision.unwrap_or(approval::Decision::Approve);
        self.end_approval(at, decision, &by, comment.as_deref());
    }

    pub(super) fn end_approval(
        &mut self,
        at: usize,
        decision: approval::Decision,
        by: &str,
        comment: Option<&str>,
    ) {
        let Kind::Approval(spec) = &self.plan.node(self.rows[at].node).kind else { return };
        let (state, outputs, failure) = approval::end(spec, decision, by, comment.into());
        (self.rows[at].outputs, self.rows[at].error) = (outputs, failure);
        self.end(at, state, None, false);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "spans are far below 2^52 ms and never negative"
)]
pub(super) fn rounded(ms: f64) -> u64 {
    ms.round() as u64
}

fn merged() -> Value {
    serde_json::json!({
        "branch": "simulated", "commit": "0".repeat(40), "base": "0".repeat(40), "merged": [],
        "conflicts": [],
    })
}

/// Nobody's attempt.
fn identity(task: String, attempt: usize) -> Identity {
    let session = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(Uuid::nil()) };
    let fence = Fence {
        task: TaskKey { session, seq: 0 },
        attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
        worker: WorkerId(Uuid::nil()),
    };
    Identity { fence, task, file_dir: Some(".".to_owned()) }
}
