//! What a monitor scrapes: requests as they come, and sessions, routes and agents counted when it
//! asks, all of it bounded.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use jobshop_engine::store::{load_view::Load, view::PAGE_MAX};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
};

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(scrape))
}

/// The process' one recorder; `None` when somebody else installed another before.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let buckets = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
            let builder = PrometheusBuilder::new().set_buckets(&buckets).ok()?;
            let handle = builder.install_recorder().ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

fn describe() {
    metrics::describe_counter!("jobshop_http_requests_total", "Requests answered.");
    metrics::describe_histogram!("jobshop_http_request_seconds", "Time to the answer's head.");
    metrics::describe_counter!("jobshop_sockets_closed_total", "Live feeds that ended, by reason.");
    metrics::describe_gauge!(
        "jobshop_sessions",
        "The newest 100000 sessions of each tenant by status."
    );
    metrics::describe_gauge!(
        "jobshop_ready_tasks",
        "Tasks that wait for an agent, by required capabilities; counted up to 10000 each."
    );
    metrics::describe_gauge!(
        "jobshop_open_approvals",
        "Approvals that wait for people; counted up to 10000 for each tenant."
    );
    metrics::describe_gauge!("jobshop_agents", "Agents that live.");
}

/// Keeps the recorder's memory bounded until the server stops.
pub(crate) async fn keep_up(stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}

/// Counts and times every request under the path it was registered by.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!("jobshop_http_request_seconds", "route" => route.clone())
        .record(begun.elapsed());
    metrics::counter!("jobshop_http_requests_total",
        "method" => method, "route" => route, "status" => status)
    .increment(1);
    response
}

/// Everything measured, in the text format of Prometheus, for keys of the installation's own tenant.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = OK, body = String, content_type = "text/plain"),
              (status = FORBIDDEN, body = Problem)))]
async fn scrape(caller: Caller) -> Result<Response, ApiError> {
    if !caller.is_of_installation() {
        return Err(ApiError::ForbiddenTenant);
    }
    for tenant in caller.views.tenants(None, Some(PAGE_MAX)).await?.items {
        let views = caller.shared.views_of(tenant.id.into());
        set_gauges(&tenant.name, &views.load().await?);
    }
    metrics::gauge!("jobshop_agents").set(f64::from(caller.views.live_workers().await?));
    let text = recorder().map(PrometheusHandle::render).unwrap_or_default();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

#[expect(clippy::cast_precision_loss, reason = "the counts are bounded far below 2^52")]
fn set_gauges(tenant: &str, load: &Load) {
    for (state, count) in &load.sessions {
        metrics::gauge!("jobshop_sessions", "tenant" => tenant.to_owned(), "status" => state.as_str()).set(*count as f64);
    }
    metrics::gauge!("jobshop_open_approvals", "tenant" => tenant.to_owned())
        .set(load.approvals as f64);
    for (capabilities, ready) in &load.ready {
        metrics::gauge!("jobshop_ready_tasks", "tenant" => tenant.to_owned(), "requires" => capabilities.join(","))
            .set(*ready as f64);
    }
}
