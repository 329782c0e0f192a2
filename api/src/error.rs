//! Refusals as RFC 9457 problems: one match from what went wrong to status and code. What the
//! database said is logged and never shown.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobshop_engine::{
    context::{Conflict, Path, Refused},
    id::SessionId,
    role::Role,
    store::{
        self,
        agents::AgentError,
        answers::AnswerError,
        applying::{ApplyError, Fault},
        approvals::VoteError,
        archived_view::ArchivedObject,
        budgets::RaiseError,
        contexts::ContextError,
        keys::KeyError,
        objects::ObjectsError,
        places::Full,
        policies::PolicyError,
        schedules::ScheduleError,
        sessions::{CreateError, SteerError},
        signals::SignalError,
        tenants::TenantError,
        view::ReadError,
        workflows::DefinitionError,
    },
    workflow,
};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::refusals;

/// What a client reads when a request was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:jobshop:problem:` and the code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The status in words.
    pub(crate) title: &'static str,
    pub(crate) status: u16,
    /// What is wrong with this request.
    pub(crate) detail: String,
    /// Stable; made for programs.
    pub(crate) code: &'static str,
    /// Everything that is wrong with a workflow or with its inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<Flaw>,
    /// The same request may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) retryable: bool,
    /// The sessions that have the places which this one asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Uuid>)]
    pub(crate) holders: Vec<SessionId>,
    /// The session that was asked for, when it was archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archived_session: Option<ArchivedObject>,
    /// Places of two contexts that both changed, and differently.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conflicts: Vec<Conflict>,
    /// Places that were to be written and that others have changed meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub(crate) places: Vec<Path>,
}

/// One thing that is wrong; a flaw of a workflow says where.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Flaw {
    /// Where several definitions were sent, which of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<usize>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Flaw {
    fn of_workflow(problem: &workflow::Problem) -> Self {
        Self {
            file: None,
            line: Some(problem.line),
            column: Some(problem.column),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }

    /// Definitions without a name are told apart by their numbers, from 1.
    fn of_set(fault: &Fault, files: &[Option<String>]) -> Self {
        let name = files.get(fault.index).cloned().flatten();
        let file = Some(name.unwrap_or_else(|| (fault.index + 1).to_string()));
        Self { file, ..Self::of_workflow(&fault.problem) }
    }

    fn of_inputs(message: &str) -> Self {
        Self { file: None, line: None, column: None, message: message.to_owned(), hint: None }
    }
}

/// Why a request was refused; its words are the problem's detail.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// With what each of the definitions is called.
    #[error("{error}")]
    ApplySet { error: ApplyError, files: Vec<Option<String>> },
    #[error(transparent)]
    Steer(#[from] SteerError),
    #[error(transparent)]
    Vote(#[from] VoteError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error("the database did not say whose key this is")]
    Keys(#[source] store::Error),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Raise(#[from] RaiseError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("{0}")]
    InvalidBody(String),
    #[error("{0}")]
    InvalidQuery(String),
    #[error("{0}")]
    InvalidPath(String),
    #[error("an idempotency key has 1 to 255 visible characters")]
    InvalidKey,
    #[error("`if-match` takes the etag of a workflow, `if-none-match` only `*`, and not both")]
    InvalidTag,
    #[error("a request may have at most 2 MiB")]
    BodyTooLarge,
    #[error("the body has to be JSON, with `content-type: application/json`")]
    NotJson,
    #[error("`file_dir` names a folder of the server, so only its own machine may send it")]
    FileDirFromAfar,
    #[error("send `authorization: Bearer TOKEN` with the token of this server or a key")]
    Unauthorized,
    #[error("this needs the role {needed}; the key has the role {role}")]
    Forbidden { role: Role, needed: Role },
    #[error("this needs a key of the installation's own tenant")]
    ForbiddenTenant,
    #[error("pages of {0} may not open sockets here")]
    ForbiddenOrigin(String),
    #[error("{0}")]
    NotAnUpgrade(String),
    #[error("no task of this session left a file with the SHA-256 {0}")]
    NoArtifact(String),
    #[error("this server has no place for artifacts: JOBSHOP_ARTIFACTS is not set")]
    NoObjects,
    #[error("{0}")]
    Objects(#[from] ObjectsError),
    #[error("there is nothing at {0}")]
    NoRoute(String),
    #[error("{0} is not possible here")]
    NoMethod(String),
    #[error("the request took too long and was given up")]
    TimedOut,
    #[error("the database does not answer")]
    NotReady,
    #[error("something broke; the server's log says what")]
    Panicked,
}

impl ApiError {
    /// The one place where a refusal gets its status and code.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        use CreateError as C;
        use ScheduleError as D;
        use StatusCode as S;
        match self {
            Self::Schedule(D::NoWorkflow(_)) => (S::NOT_FOUND, "workflow_not_found"),
            Self::Schedule(D::NotFound(_)) => (S::NOT_FOUND, "schedule_not_found"),
            Self::NoRoute(_) => (S::NOT_FOUND, "not_found"),
            Self::NoArtifact(_) => (S::NOT_FOUND, "artifact_not_found"),
            Self::NoObjects => (S::SERVICE_UNAVAILABLE, "no_objects"),
            Self::Objects(error) => of_objects(error),
            Self::Apply(error) | Self::ApplySet { error, .. } => of_apply(error),
            Self::Vote(error) => refusals::of_vote(error),
            Self::Answer(error) => refusals::of_answer(error),
            Self::Policy(error) => refusals::of_policy(error),
            Self::Signal(error) => of_signal(error),
            Self::Key(error) => of_key(error),
            Self::Tenant(error) => of_tenant(error),
            Self::Read(error) | Self::Context(ContextError::Read(error)) => of_read(error),
            Self::Context(error) => of_context(error),
            Self::Agent(error) => of_agent(error),
            Self::Raise(error) => of_raise(error),
            Self::Schedule(D::Exists(_)) => (S::CONFLICT, "schedule_exists"),
            Self::Schedule(D::OfWorkflow(_)) => (S::CONFLICT, "schedule_of_workflow"),
            Self::Schedule(D::Disabled(_)) => (S::CONFLICT, "schedule_disabled"),
            Self::Schedule(D::Invalid(_)) => (S::UNPROCESSABLE_ENTITY, "invalid_schedule"),
            Self::Create(C::Full(_)) | Self::Schedule(D::Create(C::Full(_))) => {
                (S::CONFLICT, "no_place")
            }
            Self::Create(C::KeyReused) | Self::Schedule(D::Create(C::KeyReused)) => {
                (S::CONFLICT, "idempotency_key_reused")
            }
            Self::Steer(refusal) => steering(refusal),
            Self::InvalidBody(_) => (S::BAD_REQUEST, "invalid_body"),
            Self::InvalidQuery(_) => (S::BAD_REQUEST, "invalid_query"),
            Self::InvalidPath(_) => (S::BAD_REQUEST, "invalid_path"),
            Self::InvalidKey => (S::BAD_REQUEST, "invalid_idempotency_key"),
            Self::InvalidTag => (S::BAD_REQUEST, "invalid_tag"),
            Self::NotAnUpgrade(_) => (S::BAD_REQUEST, "not_a_socket"),
            Self::Create(C::Inputs(_)) | Self::Schedule(D::Create(C::Inputs(_))) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_inputs")
            }
            Self::Definition(DefinitionError::Invalid(_)) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_workflow")
            }
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden { .. } | Self::ForbiddenTenant => (S::FORBIDDEN, "forbidden"),
            Self::FileDirFromAfar => (S::FORBIDDEN, "file_dir_from_afar"),
            Self::ForbiddenOrigin(_) => (S::FORBIDDEN, "forbidden_origin"),
            Self::NoMethod(_) => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TimedOut => (S::GATEWAY_TIMEOUT, "timed_out"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Panicked => (S::INTERNAL_SERVER_ERROR, "internal"),
            Self::Create(C::Database(error))
            | Self::Schedule(D::Database(error) | D::Create(C::Database(error)))
            | Self::Definition(DefinitionError::Database(error))
            | Self::Keys(error) => database(error),
        }
    }

    /// The places that were asked for and are taken.
    fn full(&self) -> Option<&Full> {
        if let Self::Create(CreateError::Full(full))
        | Self::Schedule(ScheduleError::Create(CreateError::Full(full)))
        | Self::Steer(SteerError::Full(full)) = self
        {
            return Some(full);
        }
        None
    }

    /// The session that is gone.
    fn archived(&self) -> Option<&ArchivedObject> {
        if let Self::Read(ReadError::Archived(session)) = self { Some(session) } else { None }
    }

    fn conflicts(&self) -> Vec<Conflict> {
        if let Self::Context(ContextError::Conflicts(all)) = self {
            all.clone()
        } else {
            Vec::new()
        }
    }

    fn places(&self) -> Vec<Path> {
        if let Self::Context(ContextError::Changed { places, .. }) = self {
            return places.clone();
        }
        Vec::new()
    }

    fn flaws(&self) -> Vec<Flaw> {
        if let Self::Definition(DefinitionError::Invalid(problems)) = self {
            problems.iter().map(Flaw::of_workflow).collect()
        } else if let Self::Apply(ApplyError::Invalid(faults)) = self {
            faults.iter().map(|fault| Flaw::of_workflow(&fault.problem)).collect()
        } else if let Self::ApplySet { error: ApplyError::Invalid(faults), files } = self {
            faults.iter().map(|fault| Flaw::of_set(fault, files)).collect()
        } else if let Self::Create(CreateError::Inputs(messages))
        | Self::Schedule(ScheduleError::Create(CreateError::Inputs(messages)))
        | Self::Steer(SteerError::Inputs(messages)) = self
        {
            messages.iter().map(|message| Flaw::of_inputs(message)).collect()
        } else {
            Vec::new()
        }
    }
}

/// A content may be gone, or lie where this server does not look.
fn of_objects(error: &ObjectsError) -> (StatusCode, &'static str) {
    match error {
        ObjectsError::Missing(_) => (StatusCode::NOT_FOUND, "content_not_found"),
        ObjectsError::Objects(_) | ObjectsError::File(_) | ObjectsError::Changed => {
            tracing::error!(%error, "an artifact cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "objects")
        }
    }
}

fn of_read(error: &ReadError) -> (StatusCode, &'static str) {
    use ReadError as R;
    use StatusCode as S;
    match error {
        R::NoSession(_) => (S::NOT_FOUND, "session_not_found"),
        R::Archived(_) => (S::GONE, "session_archived"),
        R::NoTask { .. } => (S::NOT_FOUND, "task_not_found"),
        R::NoVersion { .. } => (S::NOT_FOUND, "version_not_found"),
        R::NoApproval(_) => (S::NOT_FOUND, "approval_not_found"),
        R::NoQuestion(_) => (S::NOT_FOUND, "inbox_entry_not_found"),
        R::AmbiguousSession { .. } => (S::CONFLICT, "ambiguous_id"),
        R::NotASession(_) => (S::BAD_REQUEST, "invalid_id"),
        R::BadCursor => (S::BAD_REQUEST, "invalid_cursor"),
        R::NoWorkflow(_) => (S::NOT_FOUND, "workflow_not_found"),
        R::NoAgent(_) => (S::NOT_FOUND, "agent_not_found"),
        R::Database(error) => database(error),
    }
}

fn of_apply(error: &ApplyError) -> (StatusCode, &'static str) {
    match error {
        ApplyError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_workflow"),
        ApplyError::VersionChanged => (StatusCode::PRECONDITION_FAILED, "version_changed"),
        ApplyError::Database(error) => database(error),
    }
}

fn of_key(error: &KeyError) -> (StatusCode, &'static str) {
    match error {
        KeyError::NotFound(_) => (StatusCode::NOT_FOUND, "key_not_found"),
        KeyError::Exists(_) => (StatusCode::CONFLICT, "key_exists"),
        KeyError::BadName(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
        KeyError::Database(error) => database(error),
    }
}

fn of_context(error: &ContextError) -> (StatusCode, &'static str) {
    use ContextError as C;
    use StatusCode as S;
    match error {
        C::NotFound(_) => (S::NOT_FOUND, "context_not_found"),
        C::NoVersion { .. } => (S::NOT_FOUND, "version_not_found"),
        C::BadName(_) => (S::BAD_REQUEST, "invalid_name"),
        C::Changed { .. } => (S::PRECONDITION_FAILED, "context_changed"),
        C::Conflicts(_) => (S::CONFLICT, "context_conflict"),
        C::Fleeting | C::Itself => (S::CONFLICT, "not_possible"),
        C::Refused(Refused::TooLarge(_)) => (S::PAYLOAD_TOO_LARGE, "context_too_large"),
        C::Refused(_) => (S::UNPROCESSABLE_ENTITY, "invalid_context"),
        C::Read(error) => of_read(error),
        C::Database(error) => database(error),
    }
}

fn of_agent(error: &AgentError) -> (StatusCode, &'static str) {
    match error {
        AgentError::NotFound(_) => (StatusCode::NOT_FOUND, "agent_not_found"),
        AgentError::Database(error) => database(error),
    }
}

fn of_raise(error: &RaiseError) -> (StatusCode, &'static str) {
    match error {
        RaiseError::Steer(refusal) => steering(refusal),
        RaiseError::NoBudget { .. } => (StatusCode::NOT_FOUND, "budget_not_found"),
        RaiseError::NotMore { .. } => (StatusCode::CONFLICT, "not_more"),
        RaiseError::Nothing => (StatusCode::BAD_REQUEST, "invalid_body"),
        RaiseError::Database(error) => database(error),
    }
}

fn of_tenant(error: &TenantError) -> (StatusCode, &'static str) {
    match error {
        TenantError::NotFound(_) => (StatusCode::NOT_FOUND, "tenant_not_found"),
        TenantError::Exists(_) => (StatusCode::CONFLICT, "tenant_exists"),
        TenantError::BadName(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
        TenantError::BadWeight(_) => (StatusCode::BAD_REQUEST, "invalid_weight"),
        TenantError::Database(error) => database(error),
    }
}

fn of_signal(error: &SignalError) -> (StatusCode, &'static str) {
    match error {
        SignalError::NotFound(_) => (StatusCode::NOT_FOUND, "session_not_found"),
        SignalError::Ended(..) => (StatusCode::CONFLICT, "session_ended"),
        SignalError::TooMany(_) => (StatusCode::CONFLICT, "too_many_signals"),
        SignalError::KeyReused => (StatusCode::CONFLICT, "idempotency_key_reused"),
        SignalError::Misfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "signal_misfit"),
        SignalError::BadData => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_signal"),
        SignalError::BadName(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
        SignalError::Database(error) => database(error),
    }
}

/// Refusals of what somebody asked to be done to a session or task.
fn steering(refusal: &SteerError) -> (StatusCode, &'static str) {
    use StatusCode as S;
    use SteerError as T;
    match refusal {
        T::NotFound(_) => (S::NOT_FOUND, "session_not_found"),
        T::IllegalMove(_) | T::IllegalTaskMove(_) => (S::CONFLICT, "illegal_move"),
        T::NothingToRetry(_) => (S::CONFLICT, "nothing_to_retry"),
        T::Stopping(_) => (S::CONFLICT, "still_stopping"),
        T::NotPaused(_) => (S::CONFLICT, "not_paused"),
        T::NotPending(_) => (S::CONFLICT, "not_pending"),
        T::NotEnded(_) => (S::CONFLICT, "not_ended"),
        T::NotDeleted => (S::CONFLICT, "not_deleted"),
        T::NoCheckpoint(_) => (S::NOT_FOUND, "checkpoint_not_found"),
        T::NobodyHears(_) => (S::CONFLICT, "nobody_hears"),
        T::TaskNotPaused(_) => (S::CONFLICT, "task_not_paused"),
        T::TaskNotPausable(_) => (S::CONFLICT, "task_not_pausable"),
        T::Asked(_) => (S::CONFLICT, "not_possible"),
        T::Full(_) => (S::CONFLICT, "no_place"),
        T::Inputs(_) => (S::UNPROCESSABLE_ENTITY, "invalid_inputs"),
        T::Outputs(_) => (S::UNPROCESSABLE_ENTITY, "invalid_outputs"),
        T::Database(error) => database(error),
    }
}

const NOT_STORABLE: &str = "not_storable";

/// What the database refused because of what it was given is the client's to mend; everything else
/// is the server's.
pub(crate) fn database(error: &store::Error) -> (StatusCode, &'static str) {
    let is_clients = store::is_about_content(error);
    tracing::error!(%error, is_clients, "a request failed in the database");
    if is_clients {
        (StatusCode::UNPROCESSABLE_ENTITY, NOT_STORABLE)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "database")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let detail = match code {
            NOT_STORABLE => "the request holds something that cannot be stored".to_owned(),
            _ => self.to_string(),
        };
        let problem = Problem {
            kind: format!("urn:jobshop:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail,
            code,
            problems: self.flaws(),
            retryable: self.full().is_some(),
            archived_session: self.archived().cloned(),
            conflicts: self.conflicts(),
            places: self.places(),
            holders: self.full().map(|full| full.holders.clone()).unwrap_or_default(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
