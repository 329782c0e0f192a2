//! What must hold of locks after every step: no more hold one than may, who has begun holds all of
//! its own, and nobody is passed in line. Which row takes which lock is told by the flow.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use jobshop_engine::{plan::NodeIndex, store::flags, task::Reason};
use uuid::Uuid;

use super::{Crew, Lane, Trial};
use crate::model::lock::Lock;

/// A row of a session.
type Holder = (Uuid, i32);

/// How the lines stood when somebody looked.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By name, those that wait and are not paused, in order.
    waiting: BTreeMap<String, Vec<Place>>,
    /// With the numbers of their tickets.
    held: BTreeMap<(String, Holder), i64>,
}

/// A place in a line: whose session came first is first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    created_at: DateTime<Utc>,
    number: i64,
    holder: Holder,
    /// Changes with the ticket: who was set aside meanwhile has not waited all the time.
    changed_by: i64,
}

#[derive(sqlx::FromRow)]
struct Ticket {
    session_id: Uuid,
    seq: i32,
    name: String,
    number: i64,
    held: bool,
    parked: bool,
    created_at: DateTime<Utc>,
    changed_by: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    session_id: Uuid,
    seq: i32,
    node: i32,
    flags: i16,
}

impl Crew<'_, '_> {
    /// Looks at the locks; what is wrong is told with the sessions it is found in.
    pub(super) async fn watch_locks(&mut self) {
        if self
            .trials
            .iter()
            .all(|trial| trial.flow.all_tasks().iter().all(|it| it.locks.is_empty()))
        {
            return;
        }
        let open: Vec<Uuid> =
            self.trials.iter().filter(|it| !it.is_over).map(|it| it.key.id.0).collect();
        let (begun, lines) = look(self.lane, &open, &self.realm).await;
        let mut holders: BTreeMap<Lock, Vec<Holder>> = BTreeMap::new();
        let mut found: Vec<(Uuid, String)> = Vec::new();
        for row in &begun {
            let Some(trial) = self.trials.iter().find(|it| it.key.id.0 == row.session_id) else {
                continue;
            };
            let holder = (row.session_id, row.seq);
            for lock in trial.locks_of(row) {
                holders.entry(lock).or_default().push(holder);
                if !lines.held.contains_key(&(lock.name(&self.realm), holder)) {
                    let what = format!("row {} has begun without `{}`", row.seq, lock.as_str());
                    found.push((row.session_id, what));
                }
            }
        }
        for (lock, holders) in &holders {
            if holders.len() > lock.limit() {
                let what = format!("`{}` is held by {holders:?}", lock.as_str());
                found.push((holders[0].0, what));
            }
        }
        found.extend(self.lines.passed(&lines, &self.realm));
        self.lines = lines;
        for (session, what) in found {
            if let Some(trial) = self.trials.iter_mut().find(|it| it.key.id.0 == session) {
                trial.problem(what);
            }
        }
    }
}

impl Trial<'_> {
    fn locks_of(&self, row: &Row) -> Vec<Lock> {
        let node = self.version.plan.node(NodeIndex::from_code(row.node));
        let task = self.tasks.get(node.id.as_str());
        task.map_or(&[][..], |task| task.locks_of_row(row.flags & flags::ITEM != 0)).to_vec()
    }
}

impl Lines {
    /// Who was given a lock that had to be left for those before them, who waited for it then and wait
    /// still. Who holds it now and did not then says nothing: they may have come later, with an older
    /// session, and took what had been left for somebody who waits for another lock besides.
    fn passed(&self, now: &Self, realm: &str) -> Vec<(Uuid, String)> {
        let mut found = Vec::new();
        for lock in Lock::ALL {
            let name = &lock.name(realm);
            let Some(line) = self.waiting.get(name) else { continue };
            let holds = |holder: &Holder| now.held.contains_key(&(name.clone(), *holder));
            let Some(last) = line.iter().filter(|place| holds(&place.holder)).max() else {
                continue;
            };
            let still = now.waiting.get(name).map_or(&[][..], Vec::as_slice);
            let before = line.iter().take_while(|it| *it < last).filter(|it| still.contains(it));
            let before: Vec<_> = before.collect();
            let kept = self
                .held
                .iter()
                .filter(|(it, number)| it.0 == *name && now.held.get(*it) == Some(*number));
            let kept = kept.count();
            if !before.is_empty() && kept + before.len() >= lock.limit() {
                let what = format!("{last:?} was given `{name}` before {before:?}; {kept} held it");
                found.push((last.holder.0, what));
            }
        }
        found
    }
}

/// The rows that have begun and not ended, and the lines.
async fn look(lane: &Lane, sessions: &[Uuid], realm: &str) -> (Vec<Row>, Lines) {
    // One moment for both.
    let mut tx = lane.db.pool().begin().await.expect("a transaction");
    sqlx::query("set transaction isolation level repeatable read")
        .execute(&mut *tx)
        .await
        .expect("a snapshot");
    // What is open in a session that has ended holds nothing any more.
    let rows: Vec<Row> = sqlx::query_as(
        "select t.session_id, t.seq, t.node, t.flags
           from tasks t join session_progress p using (tenant_id, session_id)
          where t.session_id = any($1) and p.state < 5
            and (t.state in (1, 3) or (t.state = 4 and t.reason <> $2))",
    )
    .bind(sessions)
    .bind(Reason::Lock.code())
    .fetch_all(&mut *tx)
    .await
    .expect("the rows are read");
    let tickets: Vec<Ticket> = sqlx::query_as(
        "select t.session_id, t.seq, t.name, t.number, t.held, t.parked,
                s.created_at + priority_offset(s.priority) as created_at,
                t.xmin::text::int8 as changed_by
           from tickets t
           join sessions s on s.tenant_id = t.tenant_id and s.id = t.session_id
          where t.kind = 0 and t.name like $1 || '-%'",
    )
    .bind(realm)
    .fetch_all(&mut *tx)
    .await
    .expect("the tickets are read");
    tx.commit().await.expect("it only read");
    let mut lines = Lines::default();
    for ticket in tickets {
        let holder = (ticket.session_id, ticket.seq);
        if ticket.held {
            lines.held.insert((ticket.name, holder), ticket.number);
        } else if !ticket.parked {
            let Ticket { created_at, number, changed_by, .. } = ticket;
            let place = Place { created_at, number, holder, changed_by };
            lines.waiting.entry(ticket.name).or_default().push(place);
        }
    }
    lines.waiting.values_mut().for_each(|line| line.sort_unstable());
    (rows, lines)
}

/// How many tickets a session has.
pub(super) async fn tickets_of(lane: &Lane, session: Uuid) -> i64 {
    sqlx::query_scalar("select count(*) from tickets where session_id = $1")
        .bind(session)
        .fetch_one(lane.db.pool())
        .await
        .expect("the tickets are counted")
}
