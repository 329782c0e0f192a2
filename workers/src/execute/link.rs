//! What joins an agent's attempt to the rest of Jobshop while it runs: where it goes on, where its
//! checkpoints go, and what people say to it. It does not know that these come from a database.

use jobshop_engine::checkpoint::{NewCheckpoint, Resume, Snapshot};
use tokio::sync::{mpsc, oneshot};

use super::runtimes::Prompt;

/// One attempt's link; the default one leads nowhere.
#[derive(Debug, Default)]
pub struct Link {
    /// Where the attempt goes on, if it does not begin anew.
    pub resume: Option<Resume>,
    /// Takes checkpoints.
    pub checkpoints: Option<mpsc::Sender<Keep>>,
    /// Brings what people say.
    pub messages: Option<mpsc::Receiver<Message>>,
}

/// A checkpoint to be kept.
#[derive(Debug)]
pub struct Keep {
    pub checkpoint: NewCheckpoint,
    /// Whoever waits until it is kept.
    pub kept: oneshot::Sender<()>,
}

/// Something that somebody says to a running agent.
#[derive(Debug)]
pub struct Message {
    pub(super) from: String,
    pub(super) prompt: Prompt,
}

impl Message {
    /// `key` is the same whenever the same message is delivered.
    pub fn new(from: String, key: String, at_ms: u64, text: String) -> Self {
        Self { from, prompt: Prompt { key, at_ms, text } }
    }
}

impl Link {
    /// The workspace of the turn that goes on, where it was interrupted.
    pub(super) fn interrupted(&self) -> Option<&Snapshot> {
        self.resume.as_ref().filter(|it| it.is_interrupted)?.workspace.as_ref()
    }

    pub(super) fn keeps(&self) -> bool {
        self.checkpoints.is_some()
    }

    /// Hands a checkpoint over. What is returned ends once it is kept.
    pub(super) async fn keep(&self, checkpoint: NewCheckpoint) -> oneshot::Receiver<()> {
        let (kept, is_kept) = oneshot::channel();
        if let Some(checkpoints) = &self.checkpoints {
            // Whoever kept them is gone only when the attempt is lost.
            let _ = checkpoints.send(Keep { checkpoint, kept }).await;
        }
        is_kept
    }

    /// The next message; never, once nobody can send one. Cancel-safe.
    pub(super) async fn message(&mut self) -> Option<Message> {
        match &mut self.messages {
            Some(messages) => messages.recv().await,
            None => None,
        }
    }
}
