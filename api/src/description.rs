//! The description of the API where it does not come from a handler: its head, what pages hold, and
//! the refusals that what surrounds every request may answer with.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        Array, ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder, Schema,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::auth;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Jobshop",
        description = "Autonomous coding sessions as durable workflows. Lists are pages \
                       `{items, next}`; refusals are RFC 9457 problems with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(),
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
pub(crate) struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// How refusals are written (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// Adds what no handler says by itself.
pub(crate) fn complete(openapi: &mut Document) {
    name_items(openapi);
    for (path, item) in &mut openapi.paths.paths {
        if let Some(operation) = &mut item.get {
            add_refusals(path, operation, &[]);
        }
        for operation in [&mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
            add_refusals(path, operation, &[("403", "The key's role does not allow it")]);
        }
    }
}

/// Pages name what they hold, instead of describing it once more.
fn name_items(openapi: &mut Document) {
    let schemas = &mut openapi.components.get_or_insert_default().schemas;
    for (name, schema) in schemas {
        let (Some(item), RefOr::T(Schema::Object(page))) = (name.strip_prefix("Page_"), schema)
        else {
            continue;
        };
        let items = Array::new(Ref::from_schema_name(item));
        page.properties.insert("items".to_owned(), Schema::Array(items).into());
    }
}

/// Adds the refusals that may come before a handler is asked, or instead of its answer.
fn add_refusals(path: &str, operation: &mut Operation, more: &[(&'static str, &'static str)]) {
    let mut refusals = vec![("504", "It took too long and was given up")];
    refusals.extend(more);
    if !auth::is_open(path) {
        refusals.push(("401", "The token or key is missing or wrong"));
    }
    if operation.parameters.is_some() || operation.request_body.is_some() {
        refusals.push(("400", "A parameter or the body cannot be read"));
    }
    if operation.request_body.is_some() {
        refusals.push(("413", "The body is larger than 2 MiB"));
        refusals.push(("415", "The body is not JSON"));
    }
    let known = &mut operation.responses.responses;
    for (status, response) in known.iter_mut() {
        if let (RefOr::T(response), true) = (response, status.starts_with(['4', '5']))
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
    for (status, description) in refusals {
        known.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(description)));
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM, content).build()
}
