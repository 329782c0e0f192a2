//! The rules, one row at a time: what holds a task in its state, or what became of it. It looks at
//! rows and never moves them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{
    flags,
    task_path::Paths,
    task_view::TaskRow,
    view::{ReadError, Views},
    why_people,
    why_rows::{AHEAD_MAX, Neighbour},
    why_view::{WhyCode, WhyReason},
};
use crate::{
    id::SessionKey,
    outcome::Failure,
    plan::Plan,
    task::{Reason, TaskState},
};

/// How far causes are followed from need to need.
const CHAIN_MAX: usize = 32;

/// The reasons found so far.
pub(super) struct Ledger<'a> {
    pub(super) views: &'a Views,
    pub(super) session: SessionKey,
    pub(super) plan: &'a Plan,
    pub(super) reasons: Vec<WhyReason>,
}

impl Ledger<'_> {
    pub(super) fn add(&mut self, code: WhyCode, task: Option<&str>, message: String, data: Value) {
        let reason = WhyReason { code, task: task.map(str::to_owned), message, data };
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Reasons of a task, then of what it waits for, until something moves by itself.
    pub(super) async fn chain(&mut self, row: TaskRow) -> Result<(), ReadError> {
        let mut next = Some(row);
        for _ in 0..CHAIN_MAX {
            let Some(row) = next.take() else { return Ok(()) };
            let Some(seq) = self.task(&row).await? else { return Ok(()) };
            next = self.views.task_row(self.session, seq).await?;
        }
        Ok(())
    }

    /// The reasons of one row; returns the number of the row that has to move first.
    async fn task(&mut self, row: &TaskRow) -> Result<Option<i32>, ReadError> {
        use TaskState as T;
        let key = self.path(row.seq).await?;
        match row.state()? {
            T::Pending => self.pending(row, &key).await,
            T::Paused => self.paused(row, &key).await.map(|()| None),
            T::Ready => self.ready(row, &key).await.map(|()| None),
            T::Assigned => self.assigned(row, &key).await.map(|()| None),
            T::InProgress => {
                self.questions(row.seq, &key).await?;
                self.running(row, &key);
                Ok(None)
            }
            T::Blocked => self.blocked(row, &key).await,
            T::Completed => {
                let data = json!({ "finished_at": row.finished_at });
                self.add(WhyCode::Completed, Some(&key), format!("`{key}` has completed"), data);
                Ok(None)
            }
            T::Failed => self.failed(row, &key).await.map(|()| None),
            T::Cancelled | T::Skipped => self.left_out(row, &key).await.map(|()| None),
        }
    }

    async fn paused(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        if row.reason()? == Some(Reason::SessionPaused) {
            let message = format!("`{key}` is paused with its session");
            self.add(WhyCode::Paused, Some(key), message, json!({}));
            return Ok(());
        }
        let pause = self.views.pause_of(self.session, row.seq).await?;
        let by = |name: &String| format!(" by {name}");
        let (says, data) = pause.map_or_else(Default::default, |pause| {
            let who = pause.actor.as_ref().map(by).unwrap_or_default();
            let because = pause.reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            let data = json!({ "actor": pause.actor, "at": pause.at, "reason": pause.reason });
            (format!("{who} since {}{because}", time(pause.at)), data)
        });
        let id = self.session.id.to_string();
        let session = why_people::tail(&id);
        let message = format!(
            "`{key}` is paused{says}: `jobshop session resume {session} --task '{key}'` lets it go"
        );
        self.add(WhyCode::Paused, Some(key), message, data);
        Ok(())
    }

    async fn pending(&mut self, row: &TaskRow, key: &str) -> Result<Option<i32>, ReadError> {
        if row.undecided {
            let message = format!("`{key}` waits for the control loop to decide it");
            self.add(WhyCode::Undecided, Some(key), message, json!({}));
            return Ok(None);
        }
        let open: Vec<Neighbour> =
            self.needs(row).await?.into_iter().filter(|need| !need.state.is_final()).collect();
        let first = open.first().map(|need| need.seq);
        for need in open {
            let name = self.path(need.seq).await?;
            let message = format!("`{key}` waits for `{name}`, which is {}", need.state);
            let data = json!({ "need": name, "status": need.state });
            self.add(WhyCode::NeedNotEnded, Some(key), message, data);
        }
        if first.is_some() {
            return Ok(first);
        }
        if self.plan.node(row.node_index()).compensates.is_some() {
            let before = self.path(row.seq - 1).await?;
            let message =
                format!("`{key}` waits for `{before}`: what is done last is undone first");
            self.add(WhyCode::NeedNotEnded, Some(key), message, json!({ "need": before }));
            return Ok(Some(row.seq - 1));
        }
        if self.plan.node(row.node_index()).finally && row.parent.is_none() {
            let message = format!("`{key}` stands under `finally`: it waits for the result");
            self.add(WhyCode::ResultNotDecided, Some(key), message, json!({}));
            return self.next_before_the_result().await;
        }
        let group = self.views.neighbours(self.session, row.parent.as_slice()).await?;
        if let Some(group) = group.into_iter().find(Neighbour::has_to_start) {
            let name = self.path(group.seq).await?;
            let message = format!("`{key}` waits for its group `{name}` to start");
            let data = json!({ "group": name, "status": group.state });
            self.add(WhyCode::GroupNotStarted, Some(key), message, data);
            return Ok(Some(group.seq));
        }
        let message = format!("`{key}` waits for the control loop to let it go");
        self.add(WhyCode::Undecided, Some(key), message, json!({}));
        Ok(None)
    }

    /// The first row that holds up the result, as far as one moves by itself.
    async fn next_before_the_result(&self) -> Result<Option<i32>, ReadError> {
        const MOVING: &[TaskState] =
            &[TaskState::InProgress, TaskState::Ready, TaskState::Assigned, TaskState::Blocked];
        let moving = self.views.rows_in(self.session, MOVING, flags::EXECUTABLE, 1).await?;
        Ok(moving.first().copied())
    }

    async fn ready(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let required = self.plan.node(row.node_index()).requires.clone();
        let offers = self.views.offers().await?;
        let nobody: Vec<&String> = required
            .iter()
            .filter(|capability| !offers.iter().any(|offer| offer.has(capability)))
            .collect();
        let able: Vec<&str> = offers
            .iter()
            .filter(|offer| required.iter().all(|capability| offer.has(capability)))
            .map(|offer| offer.name.as_str())
            .collect();
        if offers.is_empty() {
            let message = format!("`{key}` is ready, but no agent lives; start `jobshop worker`");
            self.add(WhyCode::NoAgent, Some(key), message, json!({ "missing": required }));
        } else if !nobody.is_empty() {
            let message = format!("`{key}` is ready, but no live agent offers {}", quoted(&nobody));
            self.add(WhyCode::NoAgent, Some(key), message, json!({ "missing": nobody }));
        } else if able.is_empty() {
            let message =
                format!("`{key}` is ready, but no live agent offers all of {}", quoted(&required));
            self.add(WhyCode::NoAgentWithAll, Some(key), message, json!({ "requires": required }));
        } else {
            let ahead = match row.rank {
                Some(rank) => self.views.ahead(row.route, rank).await?,
                None => 0,
            };
            let more = if ahead == AHEAD_MAX { "or more " } else { "" };
            let message = format!(
                "`{key}` is ready: {ahead} {more}ahead of it in its route, {} live {} it",
                able.len(),
                if able.len() == 1 { "agent can run" } else { "agents can run" },
            );
            let data = json!({ "ahead": ahead, "agents": able, "ready_at": row.ready_at });
            self.add(WhyCode::Queued, Some(key), message, data);
        }
        self.start_limit(row, key);
        Ok(())
    }

    /// Until when a ready task may wait.
    fn start_limit(&mut self, row: &TaskRow, key: &str) {
        let limit = self.plan.node(row.node_index()).start_timeout;
        let Some((limit, since)) = limit.zip(row.ready_at) else { return };
        let until = since + limit.to_std();
        let message = format!(
            "`{key}` fails at {} if it has not started by then: it may wait {limit}",
            time(until)
        );
        let data = json!({ "until": until, "start_timeout": limit });
        self.add(WhyCode::StartLimited, Some(key), message, data);
    }

    fn running(&mut self, row: &TaskRow, key: &str) {
        let agent = row.worker.as_deref().unwrap_or("an agent");
        let since = row.started_at.map(|at| format!(" since {}", time(at))).unwrap_or_default();
        let lease =
            row.lease_until.map(|at| format!(" (lease until {})", time(at))).unwrap_or_default();
        let message =
            format!("`{key}` is running on {agent}{since}, attempt {}{lease}", row.attempt);
        let data = json!({
            "agent": row.worker, "attempt": row.attempt, "since": row.started_at,
            "lease_until": row.lease_until,
        });
        self.add(WhyCode::Running, Some(key), message, data);
    }

    async fn blocked(&mut self, row: &TaskRow, key: &str) -> Result<Option<i32>, ReadError> {
        let until = row.wake_at.map(time).unwrap_or_default();
        match row.reason()? {
            Some(Reason::Sleep) => {
                let message = format!("`{key}` sleeps until {until}");
                self.add(WhyCode::Sleep, Some(key), message, json!({ "until": row.wake_at }));
            }
            Some(Reason::Approval) => self.approval(row, key).await?,
            Some(Reason::Signal) => self.signal(row, key).await?,
            Some(Reason::Question) => self.questions(row.seq, key).await?,
            Some(Reason::Lock) if row.undecided => {
                let message = format!("`{key}` has its locks; the control loop decides it");
                self.add(WhyCode::Undecided, Some(key), message, json!({}));
            }
            Some(Reason::Lock) => self.locks(row.seq, key).await?,
            Some(Reason::Budget) => self.budgets(row.seq, key).await?,
            Some(Reason::Backoff) => {
                let most = self.plan.node(row.node_index()).retry.max_attempts;
                let error = row.error.as_ref().map(|error| format!(" ({})", shown(error)));
                let message = format!(
                    "`{key}` is tried again at {until}: {} of {most} attempts failed{}",
                    row.failures,
                    error.unwrap_or_default(),
                );
                let data = json!({
                    "until": row.wake_at, "failures": row.failures, "crashes": row.crashes,
                    "max_attempts": most, "error": row.error.as_deref(),
                });
                self.add(WhyCode::Backoff, Some(key), message, data);
            }
            Some(Reason::Provider) => self.provider(row, key).await?,
            Some(Reason::Child) => self.child(row, key).await?,
            _ => return self.children(row, key).await,
        }
        Ok(None)
    }

    /// A task that waits for a session of its own, or for the next one to begin.
    async fn child(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let Some(child) = self.views.child_of(self.session, row.seq, row.attempt).await? else {
            let message = format!("`{key}` waits for its own session to begin");
            self.add(WhyCode::Child, Some(key), message, json!({ "until": row.wake_at }));
            return Ok(());
        };
        let (id, state, name) = (child.id, child.state, &child.workflow);
        if state.is_final() {
            let error = row.error.as_ref().map(|error| format!(" ({})", shown(error)));
            let until = row.wake_at.map(|at| format!(" at {}", time(at))).unwrap_or_default();
            let message = format!(
                "`{key}`: session {id} of `{name}` ended as {state}{}; what follows is decided{until}",
                error.unwrap_or_default(),
            );
            let data =
                json!({ "session": id, "workflow": name, "status": state, "until": row.wake_at });
            self.add(WhyCode::Child, Some(key), message, data);
            return Ok(());
        }
        let people = self.views.waits_for_people(SessionKey { id, ..self.session }).await?;
        let asks = format!(" and waits for people: `jobshop session why {id}`");
        let asks = if people { asks.as_str() } else { "" };
        let message = format!("`{key}` waits for session {id} of `{name}`, which is {state}{asks}");
        let data = json!({ "session": id, "workflow": name, "status": state });
        self.add(WhyCode::Child, Some(key), message, data);
        Ok(())
    }

    async fn children(&mut self, row: &TaskRow, key: &str) -> Result<Option<i32>, ReadError> {
        const OPEN: &[TaskState] = &[
            TaskState::InProgress,
            TaskState::Ready,
            TaskState::Blocked,
            TaskState::Assigned,
            TaskState::Pending,
        ];
        let open = self.views.children_in(self.session, row.seq, OPEN, 5).await?;
        let paths = self.paths(open.iter().map(|child| child.seq)).await?;
        let names: Vec<String> =
            open.iter().filter_map(|child| paths.path(self.plan, child.seq)).collect();
        let noun = if row.blockers == 1 { "task has" } else { "tasks have" };
        let more = usize::try_from(row.blockers).unwrap_or_default().saturating_sub(names.len());
        let some = match (names.is_empty(), more) {
            (true, _) => String::new(),
            (false, 0) => format!(": {}", quoted(&names)),
            (false, more) => format!(": {} and {more} more", quoted(&names)),
        };
        let message = format!("{} {noun} not ended directly in `{key}`{some}", row.blockers);
        let data = json!({ "open": row.blockers, "tasks": names });
        self.add(WhyCode::Children, Some(key), message, data);
        let moving = open.iter().find(|child| child.state != TaskState::Pending);
        Ok(moving.or_else(|| open.first()).map(|child| child.seq))
    }

    async fn failed(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let error = row.error.as_deref();
        let because = error.map(|error| format!(": {}", shown(error))).unwrap_or_default();
        let message = format!("`{key}` failed{because}");
        let data = json!({ "error": error, "attempt": row.attempt, "failures": row.failures });
        self.add(WhyCode::Failed, Some(key), message, data);
        if row.has_children() {
            self.culprit(row.seq, key).await?;
        }
        Ok(())
    }

    /// Skipped or cancelled.
    async fn left_out(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let (code, message) = match row.reason()? {
            Some(Reason::When) => {
                (WhyCode::WhenFalse, format!("`{key}` was skipped: its `when` was false"))
            }
            Some(Reason::NoNeedCompleted) => (
                WhyCode::NoNeedCompleted,
                format!("`{key}` was skipped: nothing it needs has completed"),
            ),
            Some(Reason::UpstreamFailed) => {
                let before = self.reasons.len();
                self.culprit(row.seq, key).await?;
                if self.reasons.len() > before {
                    return Ok(());
                }
                let message = format!("`{key}` was skipped: something it needs ended badly");
                (WhyCode::UpstreamFailed, message)
            }
            Some(Reason::FailFast) => (
                WhyCode::Cancelled,
                format!("`{key}` was cancelled: another task failed under `fail_fast`"),
            ),
            Some(Reason::Timeout) => (
                WhyCode::Cancelled,
                format!("`{key}` was cancelled: its session or group ran out of time"),
            ),
            Some(Reason::SessionStopped) => {
                (WhyCode::Cancelled, format!("`{key}` was cancelled: its session was stopped"))
            }
            Some(Reason::EndedByHand) => {
                (WhyCode::Cancelled, format!("`{key}` was cancelled: somebody ended its session"))
            }
            Some(Reason::SkippedByHand) => {
                (WhyCode::Cancelled, format!("`{key}` was skipped: somebody said so"))
            }
            Some(Reason::SessionCancelled) => {
                (WhyCode::Cancelled, format!("`{key}` was cancelled with its session"))
            }
            _ => (WhyCode::Cancelled, format!("`{key}` was left out")),
        };
        self.add(code, Some(key), message, json!({ "finished_at": row.finished_at }));
        Ok(())
    }

    /// Names the task whose end made this one be skipped or fail: up along needs and groups, down
    /// into groups that failed.
    async fn culprit(&mut self, seq: i32, key: &str) -> Result<(), ReadError> {
        let mut at = seq;
        for _ in 0..CHAIN_MAX {
            let Some(row) = self.views.task_row(self.session, at).await? else { return Ok(()) };
            let next = if row.state()? == TaskState::Skipped {
                self.bad_need(&row).await?.or(row.parent)
            } else if row.has_children() {
                self.bad_child(at).await?
            } else {
                None
            };
            match next {
                Some(next) => at = next,
                None if at == seq => return Ok(()),
                None => return self.add_culprit(&row, key).await,
            }
        }
        Ok(())
    }

    async fn add_culprit(&mut self, row: &TaskRow, key: &str) -> Result<(), ReadError> {
        let (name, state, error) = (self.path(row.seq).await?, row.state()?, row.error.as_deref());
        let because = error.map(|error| format!(" ({})", shown(error))).unwrap_or_default();
        let message = format!("`{key}`: because `{name}` {state}{because}");
        let data = json!({ "task": name, "status": state, "error": error });
        self.add(WhyCode::UpstreamFailed, Some(key), message, data);
        Ok(())
    }

    async fn bad_need(&self, row: &TaskRow) -> Result<Option<i32>, ReadError> {
        let is_bad = |need: &Neighbour| {
            matches!(need.state, TaskState::Failed | TaskState::Cancelled)
                || need.reason == Some(Reason::UpstreamFailed)
        };
        Ok(self.needs(row).await?.into_iter().find(is_bad).map(|need| need.seq))
    }

    async fn bad_child(&self, parent: i32) -> Result<Option<i32>, ReadError> {
        let bad = &[TaskState::Failed, TaskState::Cancelled];
        let found = self.views.children_in(self.session, parent, bad, 1).await?;
        Ok(found.first().map(|child| child.seq))
    }

    /// What a row waits for; an item's own row waits for nothing.
    async fn needs(&self, row: &TaskRow) -> Result<Vec<Neighbour>, ReadError> {
        if row.is_item() {
            return Ok(Vec::new());
        }
        let node = self.plan.node(row.node_index());
        let base = row.seq - node.position;
        let seqs: Vec<i32> =
            node.needs.iter().map(|need| base + self.plan.node(*need).position).collect();
        Ok(self.views.neighbours(self.session, &seqs).await?)
    }

    pub(super) async fn path(&self, seq: i32) -> Result<String, ReadError> {
        let paths = self.paths([seq]).await?;
        Ok(paths.path(self.plan, seq).unwrap_or_else(|| seq.to_string()))
    }

    async fn paths(&self, seqs: impl IntoIterator<Item = i32>) -> Result<Paths, ReadError> {
        self.views.paths(self.session, self.plan, seqs, []).await
    }
}

fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// An error in one line.
fn shown(error: &Failure) -> String {
    let line = error.message.lines().next().unwrap_or_default();
    format!("{}: {line}", error.class)
}

pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
