//! Compares what a turn changed with the paths that its task may change. What lies elsewhere is told,
//! not undone.

use jobshop_engine::artifact::Pattern;
use serde_json::{Value, json};

use super::{
    git::{GitFailure, entries, text},
    repository::Repository,
};

/// More files are counted, not named.
const NAMED: usize = 50;

/// A finding about the files that were changed outside of the paths; `None` where there is none.
pub(super) async fn finding(
    repository: &Repository,
    (base, commit): (&str, &str),
    paths: &[String],
) -> Result<Option<Value>, GitFailure> {
    if paths.is_empty() || base == commit {
        return Ok(None);
    }
    let allowed: Vec<Pattern> = paths.iter().filter_map(|path| path.parse().ok()).collect();
    let changed = repository
        .git("diff-tree")
        .args(["-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv"])
        .args([base, commit])
        .bytes()
        .await?;
    let is_outside = |path: &String| {
        let segments: Vec<&str> = path.split('/').collect();
        !allowed.iter().any(|pattern| pattern.covers(&segments))
    };
    let outside: Vec<String> = entries(&changed).map(text).filter(is_outside).collect();
    let named = &outside[..outside.len().min(NAMED)];
    Ok((!outside.is_empty()).then(|| {
        json!({
            "kind": "outside_paths",
            "message": "it changed files outside of its `paths`",
            "count": outside.len(),
            "files": named,
        })
    }))
}
