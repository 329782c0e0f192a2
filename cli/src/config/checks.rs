//! What a setting may be beyond its type. A wrong value is refused by the name of its place.

use figment::Figment;
use jobshop_engine::capability::is_capability;
use jobshop_engine::routing::Weights;
use jobshop_engine::workflow::suggest;
use secrecy::{ExposeSecret as _, SecretString};

use super::settings::{SETTINGS, Setting};
use super::{Values, sources};
use crate::exit::Failure;

/// A worker renews its lease three times while it lasts, and the database counts whole seconds.
const LEASE_MS_MIN: u64 = 3_000;

/// Refuses values that are of the right type and still make no sense.
pub(super) fn check(figment: &Figment, values: &Values) -> Result<(), Failure> {
    let refuse = |key: &str, shown: &str, why: &str| {
        let place = sources::origin(figment, key).unwrap_or_default();
        Failure::usage(format!("{place}: {shown} is wrong: {why}"))
    };
    let listen = values.listen;
    if !listen.ip().is_loopback() {
        return Err(refuse("listen", &format!("`{listen}`"), "others could reach it")
            .hint("listen on 127.0.0.1:PORT"));
    }
    let lease = values.lease;
    if lease.ms < LEASE_MS_MIN || !lease.ms.is_multiple_of(1_000) {
        let why = "a lease lasts whole seconds, at least 3s";
        return Err(refuse("lease", &format!("`{lease}`"), why));
    }
    if values.concurrency == Some(0) {
        return Err(refuse("concurrency", "`0`", "a worker runs at least one task at once"));
    }
    if values.database_connections == 0 {
        return Err(refuse("database_connections", "`0`", "a pool needs connections"));
    }
    let mut capabilities = values.capabilities.iter().flatten();
    if let Some(name) = capabilities.find(|name| *name != "*" && !is_capability(name)) {
        let why = "a capability has 1 to 64 letters, digits and _ - . : / +, or is `*`";
        return Err(refuse("capabilities", &format!("`{name}`"), why));
    }
    if let Err(wrong) = Weights::with(&values.routing_weights) {
        let origin = sources::origin(figment, "routing_weights").unwrap_or_default();
        return Err(Failure::usage(format!("{origin}: {wrong}")));
    }
    if let Some(label) = values.agent_labels.iter().find(|label| !label.contains('=')) {
        return Err(refuse("agent_labels", &format!("`{label}`"), "write NAME=VALUE"));
    }
    if values.retention.is_some_and(|span| span.ms == 0) {
        return Err(refuse("retention", "`0s`", "sessions are kept for some time at least"));
    }
    let is_place = |url: &str| url.starts_with("file:///") || url.starts_with("s3://");
    for (key, url) in [("archive", &values.archive), ("artifacts", &values.artifacts)] {
        if let Some(url) = url.as_deref().filter(|url| !is_place(url)) {
            let why = "write file:///folder or s3://bucket/prefix";
            return Err(refuse(key, &format!("`{url}`"), why));
        }
    }
    for (key, url) in [
        ("database_url", &values.database_url),
        ("database_direct_url", &values.database_direct_url),
    ] {
        if url.as_ref().is_some_and(|url| !is_postgres(url)) {
            let why = "it does not begin with postgres:// or postgresql://";
            return Err(refuse(key, "the URL", why));
        }
    }
    Ok(())
}

fn is_postgres(url: &SecretString) -> bool {
    let url = url.expose_secret();
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Variables that are no settings and mean something all the same: where Postgres is found, and what
/// a command or agent is given, which may call `jobshop` itself.
const OTHERS: [&str; 10] = [
    "JOBSHOP_PG_BIN",
    "JOBSHOP_OUTPUT",
    "JOBSHOP_SESSION",
    "JOBSHOP_TASK",
    "JOBSHOP_ATTEMPT",
    "JOBSHOP_IDEMPOTENCY_KEY",
    "JOBSHOP_FENCE",
    "JOBSHOP_WORKSPACE",
    "JOBSHOP_FILE_DIR",
    "JOBSHOP_PROMPT_FILE",
];

const PREFIX: &str = "JOBSHOP_";

/// A warning for each variable that looks like a setting and is none.
pub(super) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = || SETTINGS.iter().map(|setting: &Setting| setting.variable).chain(OTHERS);
    let is_unknown =
        |name: &String| name.starts_with(PREFIX) && !known().any(|known| known == name.as_str());
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort();
    // What all of them begin with says nothing about how near two of them are.
    let ends = || known().filter_map(|known| known.strip_prefix(PREFIX));
    let warning = |name: String| match suggest::nearest(&name[PREFIX.len()..], ends()) {
        Some(near) => format!("{name} is no setting: did you mean `{PREFIX}{near}`?"),
        None => format!("{name} is no setting; `jobshop doctor` shows them all"),
    };
    unknown.into_iter().map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_means_nothing_is_noticed() {
        let names = ["PATH", "JOBSHOP_LEASE", "JOBSHOP_CONCURENCY", "JOBSHOP_TASK", "JOBSHOP_HAT"];
        let warnings = unknown_variables(names.into_iter().map(str::to_owned));
        assert_eq!(
            warnings,
            [
                "JOBSHOP_CONCURENCY is no setting: did you mean `JOBSHOP_CONCURRENCY`?",
                "JOBSHOP_HAT is no setting; `jobshop doctor` shows them all",
            ]
        );
    }
}
