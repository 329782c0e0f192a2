//! The `with` of `builtin/http`.

use serde_json::Value;

use crate::{
    duration::Span,
    expression::template::has_expression,
    plan::HttpSpec,
    workflow::{
        definition::{Any, Entries},
        problem::Problems,
        suggest,
        tree::{Node, Scalar, Tree},
    },
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Headers that belong to the connection.
const NOT_YOURS: [&str; 5] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade"];

/// The request as it is written. `None` when it has no URL; the problem is kept then.
pub(super) fn spec(
    at: usize,
    with: Option<&Entries<Any>>,
    problems: &mut Problems,
) -> Option<HttpSpec> {
    let find = |key: &str| {
        let entries = with.iter().flat_map(|with| &with.0);
        entries.filter(|(name, _)| name.value == key).map(|(_, value)| &*value.0).next()
    };
    let Some(url) = find("url") else {
        problems.hint(at, "`builtin/http` needs a `url`", "write with: { url: https://… }");
        return None;
    };
    Some(HttpSpec {
        url: self::url(url, problems)?,
        method: find("method").and_then(|method| self::method(method, problems)),
        headers: find("headers").map(|all| headers(all, problems)).unwrap_or_default(),
        body: find("body").map(Tree::json).filter(|body| !body.is_null()),
        expect: find("expect").map(|all| expect(all, problems)).unwrap_or_default(),
        timeout: find("timeout").and_then(|span| timeout(span, problems)),
    })
}

fn text<'t>(tree: &'t Tree, what: &str, problems: &mut Problems) -> Option<&'t str> {
    match &tree.node {
        Node::Scalar(Scalar { value: Value::String(_), text, .. }) => Some(text),
        Node::Scalar(_) | Node::List(_) | Node::Map(_) => {
            problems.add(tree.at, format!("{what} must be text, not {}", tree.noun()));
            None
        }
    }
}

fn url(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let url = text(tree, "`url`", problems)?;
    let is_web = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if !is_web && !url.starts_with("${{") {
        let hint = "write it with its scheme: https://example.org/path";
        problems.hint(tree.at, format!("`url` must be http or https, not `{url}`"), hint);
    }
    Some(url.to_owned())
}

fn method(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let method = text(tree, "`method`", problems)?;
    if !has_expression(method) && !METHODS.contains(&method) {
        let message = format!("`method` must be one of {}, not `{method}`", METHODS.join(", "));
        problems.maybe(tree.at, message, suggest::did_you_mean(&method.to_uppercase(), METHODS));
    }
    Some(method.to_owned())
}

fn headers(tree: &Tree, problems: &mut Problems) -> Vec<(String, Value)> {
    let Node::Map(entries) = &tree.node else {
        problems.add(tree.at, format!("`headers` must be a map, not {}", tree.noun()));
        return Vec::new();
    };
    for entry in entries {
        let name = entry.key.to_ascii_lowercase();
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_name {
            problems.add(entry.at, format!("`{}` is not the name of a header", entry.key));
        } else if NOT_YOURS.contains(&name.as_str()) {
            problems.add(entry.at, format!("the header `{}` is not yours to set", entry.key));
        } else if !matches!(entry.value.node, Node::Scalar(_)) {
            let noun = entry.value.noun();
            problems.add(entry.value.at, format!("a header must be text, not {noun}"));
        }
    }
    entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect()
}

fn expect(tree: &Tree, problems: &mut Problems) -> Vec<u16> {
    let Node::List(items) = &tree.node else {
        let hint = "write the statuses that are a success: [200, 404]";
        problems.hint(tree.at, format!("`expect` must be a list, not {}", tree.noun()), hint);
        return Vec::new();
    };
    let status = |item: &Tree| {
        let status = item.json().as_u64().and_then(|status| u16::try_from(status).ok());
        status.filter(|status| (100..600).contains(status))
    };
    for item in items.iter().filter(|item| status(item).is_none()) {
        problems.add(item.at, "each of `expect` must be a status from 100 to 599");
    }
    items.iter().filter_map(|item| status(item)).collect()
}

fn timeout(tree: &Tree, problems: &mut Problems) -> Option<Span> {
    let span: Option<Span> = match &tree.node {
        Node::Scalar(scalar) => scalar.text.trim().parse().ok(),
        Node::List(_) | Node::Map(_) => None,
    };
    if span.is_none_or(|span| span.ms == 0) {
        problems.add(tree.at, "`timeout` must be a duration, such as 10s");
    }
    span
}
