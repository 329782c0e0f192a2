//! Creating sessions: from a registered workflow, a definition, or a prompt.

use std::{net::SocketAddr, path::Path as FilePath, sync::Arc};

use axum::{
    Json,
    extract::ConnectInfo,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobshop_engine::{
    plan::AgentRuntime,
    priority::Priority,
    prompt::Agent,
    store::{
        Version, pins, prompts,
        session_view::SessionObject,
        sessions::{self, Idempotency, NewSession},
        view::ReadError,
        workflows::{self, DefinitionError},
    },
    workflow::{Limits, compile_within},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, idempotency},
};

const TITLE_CHARS_MAX: usize = 200;
const TAG_CHARS_MAX: usize = 100;
const TAGS_MAX: usize = 50;
const DESCRIPTION_CHARS_MAX: usize = 10_000;
const PROMPT_CHARS_MAX: usize = 200_000;
const METADATA_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create))
}

/// A session to be created. Exactly one of `workflow`, `definition` and `prompt` says what it
/// executes.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct NewSessionBody {
    /// A registered workflow, `name` or `name@version`.
    workflow: Option<String>,
    /// The YAML of a workflow.
    definition: Option<String>,
    /// What an agent shall do.
    prompt: Option<String>,
    /// With a prompt: how the agent is run: `command`, `opencode` or `acp`. Without it `command`.
    runtime: Option<String>,
    /// With a prompt: the model, for opencode provider/model.
    model: Option<String>,
    /// With a prompt: the agent's command line, which reads the prompt on its standard input.
    /// Without it the worker's own.
    command: Option<Vec<String>>,
    /// With a prompt: the repository to work on a clone of.
    repo: Option<String>,
    /// With a prompt: a script that has to succeed on the result.
    verify: Option<String>,
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// Without it `IND-` and the last 8 characters of the id.
    title: Option<String>,
    description: Option<String>,
    tags: Vec<String>,
    /// Without it the workflow's.
    priority: Option<Priority>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// False leaves the session pending until it is started. Without it, it is let go at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<bool>,
    /// The folder that relative paths of the workflow start at; only from the same machine.
    file_dir: Option<String>,
}

/// Creates a session. With the header `idempotency-key` the same request sent again answers with
/// the same session, and another request with that key is refused.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", operation_id = "create_session",
    params(("idempotency-key" = Option<String>, Header,
            description = "Makes the request safe to send again")),
    request_body = NewSessionBody,
    responses((status = CREATED, body = SessionObject),
              (status = OK, body = SessionObject, description = "It was created before"),
              (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn create(
    caller: Caller,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(body): Body<NewSessionBody>,
) -> Result<Response, ApiError> {
    check(&body)?;
    if body.file_dir.is_some() && !peer.ip().is_loopback() {
        return Err(ApiError::FileDirFromAfar);
    }
    let idempotency = idempotency(&headers, &body)?;
    let version = version(&caller, &body).await?;
    if body.file_dir.is_none() {
        refuse_relative_repo(&version, &body)?;
    }
    let created =
        sessions::create(&caller.store, new_session(&caller, version, body, idempotency)).await?;
    let session = match created.fresh {
        Some(fresh) => *fresh,
        None => caller.views.session(created.key).await?,
    };
    let status = if created.existing { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/api/v1/sessions/{}", created.key.id);
    Ok((status, [(header::LOCATION, location)], Json(session)).into_response())
}

fn new_session(
    caller: &Caller,
    version: Arc<Version>,
    body: NewSessionBody,
    idempotency: Option<Idempotency>,
) -> NewSession {
    let mut inputs = body.inputs;
    if let Some(prompt) = &body.prompt {
        inputs.insert("prompt".to_owned(), Value::String(prompt.clone()));
        inputs.extend(body.repo.map(|repo| ("repo".to_owned(), Value::String(repo))));
    }
    NewSession {
        inputs,
        title: body.title,
        tags: body.tags,
        metadata: body.metadata,
        priority: body.priority,
        prompt: body.prompt,
        description: body.description,
        created_by: Some(caller.name().to_owned()),
        file_dir: body.file_dir,
        idempotency,
        start: body.start.unwrap_or(true),
        ..NewSession::new(version)
    }
}

/// What the session is to execute.
async fn version(caller: &Caller, body: &NewSessionBody) -> Result<Arc<Version>, ApiError> {
    let (store, tenant) = (&caller.store, caller.tenant());
    if let Some(definition) = &body.definition {
        let version = workflows::version_of(store, tenant, definition).await?;
        pins::check_pins(store, &version, definition).await?;
        return Ok(version);
    }
    if let Some(reference) = &body.workflow {
        let (name, number) = parse_reference(reference)?;
        let found = workflows::named(store, tenant, name, number).await;
        return found.map_err(ReadError::from)?.ok_or_else(|| {
            let name = name.to_owned();
            ApiError::Read(match number {
                Some(version) => ReadError::NoVersion { name, version },
                None => ReadError::NoWorkflow(name),
            })
        });
    }
    let runtime = match body.runtime.as_deref() {
        None | Some("command") => AgentRuntime::Command,
        Some("opencode") => AgentRuntime::Opencode,
        Some("acp") => AgentRuntime::Acp,
        Some(other) => {
            let why = format!("runtime: `{other}` is none of command, opencode, acp");
            return Err(invalid(why));
        }
    };
    if runtime == AgentRuntime::Opencode && body.command.is_some() {
        return Err(invalid("command: belongs to the runtimes command and acp"));
    }
    if body.command.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("command: is empty"));
    }
    let agent = Agent {
        runtime,
        command: body.command.clone(),
        model: body.model.clone(),
        in_repo: body.repo.is_some(),
        verify: body.verify.clone(),
    };
    Ok(prompts::version_of(store, tenant, &agent).await?)
}

/// A relative repository starts at `file_dir`, so without one it starts nowhere.
fn refuse_relative_repo(version: &Version, body: &NewSessionBody) -> Result<(), ApiError> {
    let Some(repo) = version.plan.relative_repo() else { return Ok(()) };
    if let Some(definition) = &body.definition {
        let limits = Limits { relative_repo: false, ..Limits::default() };
        compile_within(definition, &limits).map_err(DefinitionError::Invalid)?;
    }
    Err(invalid(format!(
        "workflow: its repository `{repo}` is a relative path, which starts nowhere here; \
         give it an absolute path or a URL"
    )))
}

/// `name` or `name@version`.
fn parse_reference(reference: &str) -> Result<(&str, Option<i32>), ApiError> {
    match reference.split_once('@') {
        None => Ok((reference, None)),
        Some((name, number)) => match number.parse() {
            Ok(number) => Ok((name, Some(number))),
            Err(_) => Err(invalid(format!("workflow: `{number}` is not the number of a version"))),
        },
    }
}

/// Refuses what no session can have, with the field's name.
fn check(body: &NewSessionBody) -> Result<(), ApiError> {
    let sources = [&body.workflow, &body.definition, &body.prompt];
    if sources.iter().filter(|source| source.is_some()).count() != 1 {
        return Err(invalid("give exactly one of `workflow`, `definition` and `prompt`"));
    }
    let is_agents = body.runtime.is_some()
        || body.command.is_some()
        || body.model.is_some()
        || body.repo.is_some()
        || body.verify.is_some();
    if body.prompt.is_none() && is_agents {
        return Err(invalid(
            "`runtime`, `command`, `model`, `repo` and `verify` go with a `prompt` only",
        ));
    }
    check_text("prompt", body.prompt.as_deref(), PROMPT_CHARS_MAX)?;
    check_text("title", body.title.as_deref(), TITLE_CHARS_MAX)?;
    check_text("description", body.description.as_deref(), DESCRIPTION_CHARS_MAX)?;
    check_text("verify", body.verify.as_deref(), PROMPT_CHARS_MAX)?;
    for tag in &body.tags {
        check_text("tags", Some(tag), TAG_CHARS_MAX)?;
    }
    if body.tags.len() > TAGS_MAX {
        return Err(invalid(format!("tags: a session has at most {TAGS_MAX}")));
    }
    if Value::Object(body.metadata.clone()).to_string().len() > METADATA_BYTES_MAX {
        return Err(invalid(format!("metadata: more than {METADATA_BYTES_MAX} bytes")));
    }
    if let Some(dir) = &body.file_dir
        && !FilePath::new(dir).is_absolute()
    {
        return Err(invalid(format!("file_dir: `{dir}` is not an absolute path")));
    }
    Ok(())
}

fn check_text(field: &str, text: Option<&str>, chars_max: usize) -> Result<(), ApiError> {
    match text {
        Some(text) if text.trim().is_empty() => Err(invalid(format!("{field}: is empty"))),
        Some(text) if text.contains('\0') => Err(invalid(format!("{field}: holds a NUL"))),
        Some(text) if text.chars().nth(chars_max).is_some() => {
            Err(invalid(format!("{field}: has more than {chars_max} characters")))
        }
        _ => Ok(()),
    }
}

fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::InvalidBody(detail.into())
}
