//! Agents as users see them: workers with what they offer, how busy they are, how well those of their
//! name did, and what speaks for or against giving them a task.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    agents,
    view::{Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor},
};
use crate::{
    id::{SessionId, SessionKey},
    plan::SessionType,
    routing::{
        self, AgentType, Breaker, Candidate, Complexity, Drained, Excluded, Load, Performance,
        Routing, Standing, Tier, Weights, Wish,
    },
};

/// Whether an agent takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Available,
    /// It runs as much as it can.
    Busy,
    /// It fails too often: others come first until its breaker closes.
    Broken,
    /// It gets nothing new and finishes what it runs.
    Draining,
    /// It gets nothing new and runs nothing.
    Drained,
    Maintenance,
    /// Its lease has run out, or it stopped.
    Offline,
}

/// Since when an agent gets nothing new, who said so, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DrainedObject {
    pub at: DateTime<Utc>,
    pub by: String,
    #[schema(required)]
    pub reason: Option<String>,
}

/// How well an agent did. Older attempts count less, and who has done nothing yet is taken for
/// competent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PerformanceObject {
    /// Attempts at commands and agents, ever.
    pub succeeded: u64,
    pub failed: u64,
    /// Attempts that were lost with their worker.
    pub crashed: u64,
    /// How many attempts count now.
    pub attempts: f64,
    /// The smoothed success rate.
    pub success: f64,
    /// The same of each capability that was shown.
    pub capabilities: BTreeMap<String, f64>,
    /// Means of what is known; null where nothing is.
    #[schema(required)]
    pub duration_ms: Option<f64>,
    #[schema(required)]
    pub tokens: Option<f64>,
    #[schema(required)]
    pub cost_usd: Option<f64>,
}

/// An agent: a worker, with what is known of those of its name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AgentObject {
    pub id: Uuid,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: AgentType,
    pub status: AgentStatus,
    /// What it offers; `*` stands for every capability.
    pub capabilities: Vec<String>,
    pub technologies: Vec<String>,
    pub avoids: Vec<String>,
    /// What it is best at.
    pub complexity: Complexity,
    /// The types of sessions that it is meant for; none: all.
    pub session_types: Vec<SessionType>,
    pub labels: Value,
    /// How many attempts it runs at once.
    pub capacity: i32,
    /// How many it runs, as it said last.
    pub running: i32,
    pub load: Load,
    pub tier: Tier,
    pub performance: PerformanceObject,
    pub breaker: Standing,
    #[schema(required)]
    pub drained: Option<DrainedObject>,
    pub host: String,
    pub pid: i32,
    pub version: String,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
}

/// What was found about one agent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CandidateObject {
    pub id: Uuid,
    pub agent: String,
    /// The sum of the points of all parts, from 0 to 1.
    pub score: f64,
    pub tier: Tier,
    pub parts: Vec<routing::Part>,
    /// By which rules it is left out; it may be asked where there are none.
    pub excluded: Vec<Excluded>,
}

/// Who should do a task: those first that may be asked, the best of them first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RouteObject {
    /// The name of the best; null where nobody may be asked.
    #[schema(required)]
    pub agent: Option<String>,
    /// Why that one, or why nobody.
    pub reason: String,
    /// What is asked of the agent.
    pub requires: Vec<String>,
    pub candidates: Vec<CandidateObject>,
    pub weights: Weights,
}

/// The same for a task that there is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MatchObject {
    #[schema(value_type = Uuid)]
    pub session: SessionId,
    pub task: String,
    #[serde(flatten)]
    pub route: RouteObject,
}

/// Agents that are looked at for a task.
const CANDIDATES_MAX: i64 = 1_000;
/// Workers of one name among which the newest is looked for.
const OF_A_NAME_MAX: i64 = 100;

pub(super) struct AgentRow {
    id: Uuid,
    name: String,
    kind: i16,
    capabilities: Vec<String>,
    technologies: Vec<String>,
    avoids: Vec<String>,
    complexity: i16,
    session_types: Vec<String>,
    labels: Value,
    only_session: Option<Uuid>,
    capacity: i32,
    running: i32,
    /// Tasks that are offered to it.
    offered: i32,
    drained_at: Option<DateTime<Utc>>,
    drained_by: Option<String>,
    drain_reason: Option<String>,
    maintenance: bool,
    host: String,
    pid: i32,
    version: String,
    started_at: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    is_live: bool,
    performance: Value,
    breaker: Value,
    now: DateTime<Utc>,
}

/// Which workers are read.
#[derive(Default)]
struct Which<'a> {
    /// After this one.
    after: Option<Uuid>,
    id: Option<Uuid>,
    name: Option<&'a str>,
    /// Those that have ended too, the newest first.
    ended: bool,
}

impl AgentRow {
    fn performance(&self) -> Performance {
        agents::performance(self.performance.clone())
    }

    fn breaker(&self) -> Breaker {
        agents::breaker(self.breaker.clone())
    }

    fn kind(&self) -> AgentType {
        AgentType::from_code(self.kind).unwrap_or(AgentType::Implementer)
    }

    fn complexity(&self) -> Complexity {
        Complexity::from_code(self.complexity).unwrap_or(Complexity::Medium)
    }

    fn session_types(&self) -> Vec<SessionType> {
        let read = |it: &String| serde_json::from_value(Value::from(it.as_str())).ok();
        self.session_types.iter().filter_map(read).collect()
    }

    fn status(&self, breaker: Standing) -> AgentStatus {
        match (self.drained_at.is_some(), self.running) {
            _ if !self.is_live => AgentStatus::Offline,
            (true, _) if self.maintenance => AgentStatus::Maintenance,
            (true, 0) => AgentStatus::Drained,
            (true, _) => AgentStatus::Draining,
            _ if breaker != Standing::Closed => AgentStatus::Broken,
            (false, running) if running >= self.capacity => AgentStatus::Busy,
            _ => AgentStatus::Available,
        }
    }

    /// As it stands for a task of this session.
    pub(super) fn candidate(&self, session: Option<SessionId>) -> Candidate {
        let elsewhere = |only: Uuid| session.is_none_or(|session| session.0 != only);
        Candidate {
            id: self.id,
            kind: self.kind(),
            complexity: self.complexity(),
            session_types: self.session_types(),
            performance: self.performance(),
            breaker: self.breaker(),
            capacity: self.capacity,
            running: self.running + self.offered,
            is_live: self.is_live,
            drained: match (self.drained_at, self.maintenance) {
                (None, _) => Drained::No,
                (Some(_), false) => Drained::Yes,
                (Some(_), true) => Drained::Maintenance,
            },
            is_elsewhere: self.only_session.is_some_and(elsewhere),
            name: self.name.clone(),
            capabilities: self.capabilities.clone(),
            technologies: self.technologies.clone(),
            avoids: self.avoids.clone(),
        }
    }

    pub(super) fn is(&self, id: Uuid) -> bool {
        self.id == id
    }

    fn into_object(self, routing: &Routing) -> AgentObject {
        let (performance, now) = (self.performance(), self.now);
        let breaker = self.breaker().standing(now);
        let by = self.drained_by.clone().unwrap_or_default();
        let reason = self.drain_reason.clone();
        AgentObject {
            id: self.id,
            kind: self.kind(),
            status: self.status(breaker),
            complexity: self.complexity(),
            session_types: self.session_types(),
            load: Load::of(self.running, self.capacity),
            tier: performance.tier(now, &routing.smoothing),
            performance: PerformanceObject::of(&performance, routing, now),
            breaker,
            drained: self.drained_at.map(|at| DrainedObject { at, by, reason }),
            name: self.name,
            capabilities: self.capabilities,
            technologies: self.technologies,
            avoids: self.avoids,
            labels: self.labels,
            capacity: self.capacity,
            running: self.running,
            host: self.host,
            pid: self.pid,
            version: self.version,
            started_at: self.started_at,
            lease_until: self.lease_until,
        }
    }
}

impl PerformanceObject {
    fn of(performance: &Performance, routing: &Routing, now: DateTime<Utc>) -> Self {
        let smoothing = &routing.smoothing;
        Self {
            succeeded: performance.succeeded,
            failed: performance.failed,
            crashed: performance.crashed,
            attempts: performance.weight(now, smoothing),
            success: performance.success(now, smoothing),
            capabilities: performance.by_capability(now, smoothing),
            duration_ms: performance.duration_ms(),
            tokens: performance.tokens(),
            cost_usd: performance.cost_usd(),
        }
    }
}

async fn agent_rows(db: &PgPool, which: Which<'_>, limit: i64) -> sqlx::Result<Vec<AgentRow>> {
    sqlx::query_as!(
            AgentRow,
            r#"select w.id, w.name, w.capabilities, w.only_session, w.concurrency as capacity,
                      w.running, w.drained_at,
                      (select count(*)::int from offers o where o.worker_id = w.id) as "offered!", p.drained_by, p.drain_reason,
                      coalesce(p.maintenance, false) as "maintenance!",
                      coalesce(p.kind, 1::smallint) as "kind!",
                      coalesce(p.technologies, '{}') as "technologies!",
                      coalesce(p.avoids, '{}') as "avoids!",
                      coalesce(p.complexity, 1::smallint) as "complexity!",
                      coalesce(p.session_types, '{}') as "session_types!",
                      coalesce(p.labels, '{}') as "labels!", w.host, w.pid, w.version, w.started_at, w.lease_until,
                      w.ended_at is null and w.lease_until > c.now as "is_live!",
                      coalesce(a.performance, '{}') as "performance!",
                      coalesce(a.breaker, '{}') as "breaker!", c.now as "now!"
                 from workers w
                 left join agents a on a.name = w.name
                 left join agent_profiles p on p.worker_id = w.id
                cross join (select clock() as now) c
                where ($1::uuid is null or w.id > $1)
                  and ($2::uuid is null or w.id = $2)
                  and ($3::text is null or w.name = $3)
                  and ($4::bool or (w.ended_at is null and w.lease_until > c.now))
                order by case when not $4 then w.id end, w.id desc
                limit $5"#,
            which.after,
            which.id,
            which.name,
            which.ended,
            limit,
        )
        .fetch_all(db)
        .await
}

/// Agents that live, as candidates are made of them, and when that was.
pub(super) async fn live_agents(db: &PgPool) -> sqlx::Result<(Vec<AgentRow>, DateTime<Utc>)> {
    let rows = agent_rows(db, Which::default(), CANDIDATES_MAX).await?;
    let now = rows.first().map(|row| row.now).unwrap_or_default();
    Ok((rows, now))
}

impl Views {
    /// Workers whose lease holds, oldest first.
    pub async fn agents(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<AgentObject>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map(Uuid::from_bytes);
        let read = rows_to_read(limit);
        let mut rows = agent_rows(&self.db, Which { after, ..Which::default() }, read).await?;
        let more = cut(&mut rows, read);
        let next =
            if more { rows.last().map(|agent| to_cursor(agent.id.as_bytes())) } else { None };
        let items = rows.into_iter().map(|row| row.into_object(&self.routing)).collect();
        Ok(Page { items, next })
    }

    /// The agent of this id or name; of several with one name the newest that lives.
    pub async fn agent(&self, agent: &str) -> Result<AgentObject, ReadError> {
        let id = agent.parse().ok();
        let name = if id.is_none() { Some(agent) } else { None };
        let which = Which { id, name, ended: true, ..Which::default() };
        let mut rows = agent_rows(&self.db, which, OF_A_NAME_MAX).await?;
        let live = rows.iter().position(|row| row.is_live).unwrap_or_default();
        if rows.is_empty() {
            return Err(ReadError::NoAgent(agent.to_owned()));
        }
        Ok(rows.swap_remove(live).into_object(&self.routing))
    }

    /// Who of those that live should do what is asked.
    pub async fn route(&self, wish: &Wish) -> Result<RouteObject, ReadError> {
        Ok(self.route_in(None, wish).await?)
    }

    /// Who should do this task, and by which rules others may not.
    pub async fn match_task(
        &self,
        session: SessionKey,
        key: &str,
    ) -> Result<MatchObject, ReadError> {
        let seq = self.find_task(session, key).await?;
        let missing = || ReadError::NoTask { session: session.id, key: key.to_owned() };
        let row = self.task_row(session, seq).await?.ok_or_else(missing)?;
        let version = self.version_of(session).await?;
        let wish = version.plan.wish(row.node_index());
        let route = self.route_in(Some(session.id), &wish).await?;
        Ok(MatchObject { session: session.id, task: key.to_owned(), route })
    }

    async fn route_in(&self, session: Option<SessionId>, wish: &Wish) -> sqlx::Result<RouteObject> {
        let (rows, now) = live_agents(&self.db).await?;
        let agents: Vec<Candidate> = rows.iter().map(|row| row.candidate(session)).collect();
        let ranked = routing::rank(&agents, wish, &self.routing, now);
        let best = ranked.first().filter(|it| it.excluded.is_empty());
        let reason = best.map_or_else(
            || match agents.len() {
                0 => "no agent lives; start `jobshop worker`".to_owned(),
                count => format!("none of {count} agents may be asked"),
            },
            |best| {
                let free = best.candidate.capacity - best.candidate.running;
                let (score, tier) = (best.score.total, best.score.tier);
                format!("score {score:.2}: tier {tier}, {free} of {} free", best.candidate.capacity)
            },
        );
        let agent = best.map(|best| best.candidate.name.clone());
        let candidates = ranked.iter().map(CandidateObject::of).collect();
        let (requires, weights) = (wish.requires.clone(), self.routing.weights);
        Ok(RouteObject { agent, reason, requires, candidates, weights })
    }
}

impl CandidateObject {
    fn of(ranked: &routing::Ranked<'_>) -> Self {
        Self {
            id: ranked.candidate.id,
            agent: ranked.candidate.name.clone(),
            score: ranked.score.total,
            tier: ranked.score.tier,
            parts: ranked.score.parts.clone(),
            excluded: ranked.excluded.clone(),
        }
    }
}
