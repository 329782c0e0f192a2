//! Who may come in: whoever brings the server's own token or a key. The key says which tenant the
//! request sees, who acts, and what it may do. A browser cannot send the header when it opens a
//! socket or the viewer of the description, so those take the token as a parameter too; the viewer
//! keeps it in a cookie that is good for nothing else.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use jobshop_engine::{
    id::TenantId,
    role::Role,
    store::{
        Store, Views,
        keys::{self, Holder},
    },
};
use sha2::{Digest, Sha256};

use crate::{app::Shared, error::ApiError};

const OPEN: [&str; 3] = ["/health", "/live", "/ready"];
const DOCS_COOKIE: &str = "jobshop_docs";
/// How often it is asked whether the key of an open connection still holds.
const KEY_LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// What keys begin with, so that they are found where they should not be.
pub(crate) const KEY_PREFIX: &str = "jsk_";

/// Whether a path asks for no token.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Who sent a request, and what of Jobshop it may see and touch.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Of the caller's tenant alone.
    pub(crate) views: Views,
    pub(crate) store: Store,
    pub(crate) shared: Shared,
    holder: Arc<Holder>,
}

impl Caller {
    pub(crate) fn tenant(&self) -> TenantId {
        self.holder.tenant
    }

    /// The actor of what it does.
    pub(crate) fn name(&self) -> &str {
        &self.holder.name
    }

    pub(crate) fn role(&self) -> Role {
        self.holder.role
    }

    /// Returns once its key is revoked, a few seconds later at most; never for the server's own token.
    /// A database that does not answer revokes nothing.
    pub(crate) async fn revoked(&self) {
        if self.holder.key.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(KEY_LOOKED_AT_EVERY).await;
            if let Ok(true) = keys::is_revoked(&self.store.pool, &self.holder).await {
                return;
            }
        }
    }

    /// Whether it belongs to the installation's own tenant.
    pub(crate) fn is_of_installation(&self) -> bool {
        self.tenant() == self.shared.access.owner().tenant
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        let holder = parts.extensions.get::<Arc<Holder>>().ok_or(ApiError::Unauthorized)?;
        Ok(Self {
            views: shared.views_of(holder.tenant),
            store: shared.store.clone(),
            shared: shared.clone(),
            holder: Arc::clone(holder),
        })
    }
}

/// A caller that may change what others rely on.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl FromRequestParts<Shared> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, shared).await?;
        if caller.role() < Role::Admin {
            return Err(ApiError::Forbidden { role: caller.role(), needed: Role::Admin });
        }
        Ok(Self(caller))
    }
}

/// Lets requests with the token or a key through. Whatever does more than read needs an operator;
/// what needs more than that asks for [`Admin`].
pub(crate) async fn require_key(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let mut admitted = None;
    for (way, token) in brought(&request, is_read) {
        match holder_of(&shared, &token).await {
            Ok(Some(_)) if way == Way::ToDocs => return enter_docs(&token),
            Ok(Some(holder)) => {
                admitted = Some(holder);
                break;
            }
            Ok(None) => {}
            Err(accident) => return accident.into_response(),
        }
    }
    let Some(holder) = admitted else { return ApiError::Unauthorized.into_response() };
    if !is_read && holder.role < Role::Operator {
        let refusal = ApiError::Forbidden { role: holder.role, needed: Role::Operator };
        return refusal.into_response();
    }
    request.extensions_mut().insert(holder);
    next.run(request).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    /// To the viewer, with a cookie for what it loads.
    ToDocs,
}

/// The tokens that a request brings in a place that counts, in the order in which they are tried.
fn brought(request: &Request, is_read: bool) -> Vec<(Way, String)> {
    let path = request.uri().path();
    let mut brought = Vec::new();
    brought.extend(bearer(request.headers()).map(|token| (Way::In, token.to_owned())));
    let parameter = request.uri().query().and_then(token_parameter);
    if path.starts_with("/ws/") {
        brought.extend(parameter.map(|token| (Way::In, token)));
    } else if is_read && is_docs(path) {
        brought.extend(parameter.map(|token| (Way::ToDocs, token)));
        brought.extend(cookie(request.headers()).map(|token| (Way::In, token.to_owned())));
    }
    brought
}

/// Who holds this token or key. The server's own token is known without the database.
async fn holder_of(shared: &Shared, token: &str) -> Result<Option<Arc<Holder>>, ApiError> {
    if shared.access.accepts_token(token) {
        return Ok(Some(Arc::clone(shared.access.owner())));
    }
    if !token.starts_with(KEY_PREFIX) {
        return Ok(None);
    }
    let holder = keys::holder(&shared.store.pool, &hash(token)).await.map_err(ApiError::Keys)?;
    Ok(holder.map(Arc::new))
}

/// What is kept of a key.
pub(crate) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/") || path == "/openapi.json"
}

fn enter_docs(token: &str) -> Response {
    let cookie = format!("{DOCS_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else {
        return ApiError::Unauthorized.into_response();
    };
    ([(header::SET_COOKIE, cookie)], Redirect::to("/docs/")).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::COOKIE)?
        .to_str()
        .ok()?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == DOCS_COOKIE).then_some(value))
}

/// The token among the parameters. Tokens have no characters that would have to be escaped.
fn token_parameter(query: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == "token").then(|| value.to_owned()))
}
