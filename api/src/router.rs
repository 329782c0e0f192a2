//! Everything there is under one address, what surrounds every request, and the description made
//! from the same handlers.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{Method, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower::ServiceBuilder;
use tower_http::{
    ServiceBuilderExt as _,
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, RequestId},
    trace::TraceLayer,
};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    agents,
    app::Shared,
    approvals, archives, artifacts, auth, budgets, conflicts, contexts, conversations, create,
    description::{self, Description},
    diff,
    error::ApiError,
    events, evidence, health, inbox, keys, live, logs, metrics, policies, providers, retry,
    schedules, sessions, signals, steer, tasks, tenants, why, workflows,
};

const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

fn resources() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(sessions::routes())
        .merge(create::routes())
        .merge(steer::routes())
        .merge(retry::routes())
        .merge(tasks::routes())
        .merge(events::routes())
        .merge(evidence::routes())
        .merge(artifacts::routes())
        .merge(diff::routes())
        .merge(conflicts::routes())
        .merge(logs::routes())
        .merge(why::routes())
        .merge(workflows::routes())
        .merge(schedules::routes())
        .merge(agents::routes())
        .merge(archives::routes())
        .merge(approvals::routes())
        .merge(inbox::routes())
        .merge(policies::routes())
        .merge(signals::routes())
        .merge(conversations::routes())
        .merge(contexts::routes())
        .merge(budgets::routes())
        .merge(providers::routes())
        .merge(keys::routes())
        .merge(tenants::routes())
        .merge(live::routes())
        .merge(health::routes())
        .merge(metrics::routes())
}

/// The `OpenAPI` 3.1 description of the whole API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = resources().into_openapi();
    description::complete(&mut openapi);
    openapi
}

pub(crate) fn router(shared: Shared) -> Router {
    let (resources, mut description) = resources().split_for_parts();
    description::complete(&mut description);
    let viewer = SwaggerUi::new("/docs").url("/openapi.json", description);
    surround(resources.merge(viewer), shared)
}

/// What surrounds every request; outermost first.
fn surround(routes: Router<Shared>, shared: Shared) -> Router {
    let layers = ServiceBuilder::new()
        .set_x_request_id(MakeRequestUuid)
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .propagate_x_request_id()
        .layer(from_fn(metrics::measure))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(shared.clone(), auth::require_key))
        .layer(from_fn(refuse_nul))
        .layer(from_fn(answer_in_time))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(layers)
        .with_state(shared)
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::NoRoute(uri.path().to_owned())
}

async fn no_method(method: Method) -> ApiError {
    ApiError::NoMethod(method.to_string())
}

/// Nothing is named with a NUL, and the database cannot be asked for one.
async fn refuse_nul(request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path().contains("%00") {
        return ApiError::InvalidPath("the path holds a NUL".to_owned()).into_response();
    }
    let mut parameters = uri.query().unwrap_or_default().split('&');
    if let Some(parameter) = parameters.find(|parameter| parameter.contains("%00")) {
        let name = parameter.split('=').next().unwrap_or_default();
        return ApiError::InvalidQuery(format!("{name}: holds a NUL")).into_response();
    }
    next.run(request).await
}

async fn answer_in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    ApiError::Panicked.into_response()
}

fn span(request: &Request) -> tracing::Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    // The path as it was registered: a query may hold a token.
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    tracing::info_span!("request", request.id = id, http.method = %request.method(), http.route = path)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode, http::header, routing::get};
    use jobshop_engine::store::{Store, StoreConfig};
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    use super::*;
    use crate::App;

    /// Answers of one route that misbehaves; there is no database.
    async fn answer(route: axum::routing::MethodRouter<Shared>) -> (StatusCode, Value) {
        let store = Store::new(StoreConfig::new("postgres://nobody@127.0.0.1:1/none")).unwrap();
        let shared = Shared::new(App::new(store, "t".into()), 1, CancellationToken::new());
        let router = surround(Router::new().route("/x", route), shared);
        let request = Request::get("/x").header(header::AUTHORIZATION, "Bearer t");
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_of_one_request() {
        let (status, problem) = answer(get(|| async { panic!("on purpose") as String })).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(problem["code"], "internal");
        assert!(!problem.to_string().contains("on purpose"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_given_up() {
        let (status, problem) = answer(get(std::future::pending::<String>)).await;
        assert_eq!((status, &problem["code"]), (StatusCode::GATEWAY_TIMEOUT, &"timed_out".into()));
    }
}
