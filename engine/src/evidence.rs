//! Evidence: what a worker itself saw of the result of a task, and its signature. The key of a worker
//! lives as long as its registration and is kept nowhere. It does not know what was executed how.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{Fence, SessionId, WorkerId};

/// What a verification came to, before anybody stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From 1 in its attempt.
    pub round: i32,
    /// What was checked out; `None` where the task works in no repository.
    pub commit: Option<String>,
    pub commands: Vec<Checked>,
    /// Files of the commit that the commands changed: what passed is another tree then.
    pub changed: Vec<String>,
    /// SHA-256 of the environment, in hexadecimal digits.
    pub environment: String,
}

/// A command that was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    pub command: String,
    /// Null where it did not end by itself.
    #[schema(required)]
    pub exit_code: Option<i32>,
    /// SHA-256 of everything it printed, in hexadecimal digits.
    pub log_sha256: String,
    pub duration_ms: u64,
}

impl Finding {
    pub fn has_passed(&self) -> bool {
        self.changed.is_empty() && self.commands.iter().all(|it| it.exit_code == Some(0))
    }
}

/// What a worker stands for: the text of this, as JSON, is what it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub session_id: SessionId,
    /// The key of the task and its number.
    pub task: String,
    pub seq: i32,
    pub attempt: i32,
    pub worker: WorkerId,
    pub round: i32,
    pub commit: Option<String>,
    pub passed: bool,
    pub commands: Vec<Checked>,
    pub changed: Vec<String>,
    pub environment: String,
}

impl Statement {
    pub fn new(fence: Fence, task: &str, finding: Finding) -> Self {
        Self {
            session_id: fence.task.session.id,
            task: task.to_owned(),
            seq: fence.task.seq,
            attempt: fence.attempt,
            worker: fence.worker,
            round: finding.round,
            passed: finding.has_passed(),
            commit: finding.commit,
            commands: finding.commands,
            changed: finding.changed,
            environment: finding.environment,
        }
    }
}

/// A statement as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub statement: String,
    pub signature: Vec<u8>,
    pub public_key: Vec<u8>,
}

impl Signed {
    /// What was signed; `None` where the signature is not that of the key for this text.
    pub fn read(&self) -> Option<Statement> {
        let key: [u8; 32] = self.public_key.as_slice().try_into().ok()?;
        let key = VerifyingKey::from_bytes(&key).ok()?;
        let signature = Signature::from_slice(&self.signature).ok()?;
        key.verify(self.statement.as_bytes(), &signature).ok()?;
        serde_json::from_str(&self.statement).ok()
    }
}

/// The key of a worker.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
}

impl Signer {
    /// The caller brings what nobody can guess.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub fn sign(&self, statement: &Statement) -> Signed {
        let text = serde_json::to_string(statement).expect("a statement is plain JSON");
        Signed {
            signature: self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            public_key: self.public_key().to_vec(),
            statement: text,
        }
    }
}

/// What evidence is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It passed, for what the task stands for now.
    Valid,
    /// A command failed, or changed files of the commit.
    Failed,
    /// The task made another commit since, or is tried again.
    Superseded,
    /// It is not what a worker signed.
    Forged,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::id::{SessionKey, TaskKey, TenantId};

    fn statement() -> Statement {
        let session = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(Uuid::from_u128(7)) };
        let fence = Fence {
            task: TaskKey { session, seq: 3 },
            attempt: 1,
            worker: WorkerId(Uuid::from_u128(9)),
        };
        let finding = Finding {
            round: 1,
            commit: Some("c".repeat(40)),
            commands: vec![Checked {
                command: "true".to_owned(),
                exit_code: Some(0),
                log_sha256: "0".repeat(64),
                duration_ms: 3,
            }],
            changed: Vec::new(),
            environment: "1".repeat(64),
        };
        Statement::new(fence, "build", finding)
    }

    #[test]
    fn what_a_worker_signed_is_read_and_nothing_else_is() {
        let signed = Signer::from_seed(&[1; 32]).sign(&statement());
        assert_eq!(signed.read(), Some(statement()));
        let changed = signed.statement.replace("\"seq\":3", "\"seq\":4");
        assert_eq!(Signed { statement: changed, ..signed.clone() }.read(), None);
        let other = Signer::from_seed(&[2; 32]).public_key().to_vec();
        assert_eq!(Signed { public_key: other, ..signed.clone() }.read(), None);
        assert_eq!(Signed { signature: vec![0; 64], ..signed }.read(), None);
    }

    #[test]
    fn a_verification_that_changed_the_tree_has_not_passed() {
        let finding = Finding {
            round: 1,
            commit: None,
            commands: Vec::new(),
            changed: vec!["a".to_owned()],
            environment: String::new(),
        };
        assert!(!finding.has_passed());
    }
}
