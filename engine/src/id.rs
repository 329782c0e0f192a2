//! The ids: one type each, so that two of them can never be confused. They do not know how ids are
//! made unique in time: the caller brings the UUID (version 7 wherever rows are keyed by it).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// The owner of everything else; the isolation boundary.
    TenantId
);
id!(
    /// One execution of a workflow version.
    SessionId
);
id!(
    /// One immutable content of a workflow definition.
    VersionId
);
id!(
    /// One start of a worker process; never reused.
    WorkerId
);

impl TenantId {
    /// The tenant that every installation has from its first migration.
    pub const DEFAULT: Self = Self(Uuid::from_u128(1));
}

/// A session with its tenant: what every statement about a session is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub tenant: TenantId,
    pub id: SessionId,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// A task: its session and its number there, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    pub session: SessionKey,
    pub seq: i32,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session.id, self.seq)
    }
}

/// Who may end an attempt: the task, the number of the attempt, and the worker that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    pub task: TaskKey,
    pub attempt: i32,
    pub worker: WorkerId,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.task, self.attempt, self.worker)
    }
}
