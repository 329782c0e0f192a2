//! The registry of agents: who there is, who gets nothing new, and who should do what.

use axum::Json;
use jobshop_engine::{
    capability::is_capability,
    plan::SessionType,
    routing::{AgentType, Complexity, Tier, Wish},
    store::{
        agents::{self, Drain},
        view::Page,
        worker_view::{AgentObject, MatchObject, RouteObject},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{OptionalBody, PageQuery, Path, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(drain))
        .routes(routes!(resume))
        .routes(routes!(route))
        .routes(routes!(match_task))
}

/// Agents that live: their lease holds.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", operation_id = "list_agents", params(PageQuery),
    responses((status = OK, body = Page<AgentObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AgentObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.agents(query.cursor.as_deref(), limit).await?))
}

/// One agent, by its id or name; of several with one name the newest that lives.
#[utoipa::path(get, path = "/api/v1/agents/{agent}", tag = "agents", operation_id = "show_agent",
    params(("agent" = String, Path)),
    responses((status = OK, body = AgentObject), (status = NOT_FOUND, body = Problem)))]
async fn show(caller: Caller, Path(agent): Path<String>) -> Result<Json<AgentObject>, ApiError> {
    Ok(Json(caller.views.agent(&agent).await?))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct DrainBody {
    /// Shown with the agent.
    reason: Option<String>,
    /// It is called `maintenance` then.
    maintenance: bool,
}

/// Agents work for all tenants, so that they take orders from the installation's own one alone.
fn of_installation(caller: &Caller) -> Result<(), ApiError> {
    if caller.is_of_installation() { Ok(()) } else { Err(ApiError::ForbiddenTenant) }
}

/// Gives an agent nothing new; what it runs it finishes. A name stands for all that run under it, now
/// and after a restart; an id for one worker until that one ends.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/drain", tag = "agents", operation_id = "drain_agent",
    params(("agent" = String, Path)), request_body = Option<DrainBody>,
    responses((status = OK, body = AgentObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn drain(
    caller: Caller,
    Path(agent): Path<String>,
    OptionalBody(body): OptionalBody<DrainBody>,
) -> Result<Json<AgentObject>, ApiError> {
    of_installation(&caller)?;
    let DrainBody { reason, maintenance } = &body;
    let by = Drain { by: caller.name(), reason: reason.as_deref(), maintenance: *maintenance };
    agents::drain(&caller.store, &agent, by).await?;
    tracing::info!(agent.name = agent, actor = caller.name(), "an agent is drained");
    Ok(Json(caller.views.agent(&agent).await?))
}

/// Lets a drained agent take tasks again.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/resume", tag = "agents", operation_id = "resume_agent",
    params(("agent" = String, Path)),
    responses((status = OK, body = AgentObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn resume(caller: Caller, Path(agent): Path<String>) -> Result<Json<AgentObject>, ApiError> {
    of_installation(&caller)?;
    agents::resume(&caller.store, &agent).await?;
    tracing::info!(agent.name = agent, actor = caller.name(), "an agent is resumed");
    Ok(Json(caller.views.agent(&agent).await?))
}

/// What is asked of an agent; lists have commas between their items.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WishQuery {
    /// Capabilities; all have to be offered.
    requires: Option<String>,
    /// The type that is preferred.
    #[serde(rename = "type")]
    kind: Option<AgentType>,
    /// Names of agents that are preferred.
    agents: Option<String>,
    /// Technologies that are preferred; who avoids one is left out.
    technologies: Option<String>,
    complexity: Option<Complexity>,
    session_type: Option<SessionType>,
    /// Nobody below this tier may be asked.
    tier: Option<Tier>,
}

fn items(text: Option<&str>) -> Vec<String> {
    let items = text.unwrap_or_default().split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

impl WishQuery {
    fn wish(&self) -> Result<Wish, ApiError> {
        let requires = items(self.requires.as_deref());
        if let Some(wrong) = requires.iter().find(|name| !is_capability(name)) {
            let why = format!("requires: `{wrong}` cannot be the name of a capability");
            return Err(ApiError::InvalidQuery(why));
        }
        Ok(Wish {
            requires,
            kind: self.kind,
            agents: items(self.agents.as_deref()),
            technologies: items(self.technologies.as_deref()),
            complexity: self.complexity,
            session_type: self.session_type,
            tier: self.tier,
        })
    }
}

/// Who of those that live should do what is asked: the score of each, with the parts that add up to
/// it, and the rules that leave some out.
#[utoipa::path(get, path = "/api/v1/routing", tag = "agents", operation_id = "route", params(WishQuery),
    responses((status = OK, body = RouteObject), (status = BAD_REQUEST, body = Problem)))]
async fn route(
    caller: Caller,
    Query(query): Query<WishQuery>,
) -> Result<Json<RouteObject>, ApiError> {
    Ok(Json(caller.views.route(&query.wish()?).await?))
}

/// The same for a task that there is.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/tasks/{key}/match", tag = "agents", operation_id = "match_task",
    params(("id" = String, Path), ("key" = String, Path)),
    responses((status = OK, body = MatchObject), (status = NOT_FOUND, body = Problem)))]
async fn match_task(
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<MatchObject>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.match_task(session, &key).await?))
}
