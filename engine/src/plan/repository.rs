//! Which repositories a plan names by relative paths. It does not know where such a path starts.

use super::{Builtin, Kind, Plan, WorkspaceMode};
use crate::expression::template::has_expression;

/// Neither an absolute path, nor a URL, nor `host:path`.
pub fn is_relative_repo(repo: &str) -> bool {
    let is_remote = repo.contains("://")
        || repo.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'));
    !repo.starts_with('/') && !is_remote
}

/// Whether a repository as it is written is surely relative: what a template gives is not known.
pub(super) fn is_literally_relative(repo: &str) -> bool {
    !repo.is_empty() && !has_expression(repo) && is_relative_repo(repo)
}

impl Plan {
    /// A relative repository that some task works in, where the text says so.
    pub fn relative_repo(&self) -> Option<&str> {
        self.nodes.iter().find_map(|node| {
            let needs_repo = match node.kind {
                Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(Builtin::Merge { .. }) => true,
                Kind::Builtin(Builtin::Noop | Builtin::Fail { .. } | Builtin::Http(_))
                | Kind::Sleep(_)
                | Kind::Approval(_)
                | Kind::WaitFor(_)
                | Kind::Session(_)
                | Kind::Group(_) => false,
            };
            let spec = node.workspace.as_ref().filter(|_| needs_repo)?;
            let repo = spec.repo.as_deref().filter(|_| spec.mode == WorkspaceMode::Clone)?;
            is_literally_relative(repo).then_some(repo)
        })
    }
}
