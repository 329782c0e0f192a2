//! What a definition uses by name: whether a version that it pins is there, and takes what it is
//! given. It does not know when a definition is applied, nor what else comes with it.

use sqlx::PgConnection;

use super::{
    Store, Version,
    applying::{ApplyError, Fault},
};
use crate::{
    id::TenantId,
    plan::{Child, Input},
    workflow::{Problem, input_problem, missing_inputs},
};

/// Refuses a definition that is not applied, only executed, where a version that it pins is not
/// there or does not take what it is given.
pub async fn check_pins(
    store: &Store,
    version: &Version,
    definition: &str,
) -> Result<(), ApplyError> {
    let mut faults = Vec::new();
    for node in &version.plan.nodes {
        let Some(child) = node.uses().filter(|child| child.version.is_some()) else { continue };
        let mut db = store.pool.acquire().await?;
        let inputs = inputs_of(&mut db, version.tenant, &child.name, child.version).await?;
        let (messages, hint) = judged(child, inputs, false);
        let reference = child.reference();
        faults.extend(messages.into_iter().map(|message| {
            let message = format!("`{}` uses `{reference}`: {message}", node.id);
            let problem = use_problem(definition, (&node.id, &reference), message, hint.clone());
            Fault { index: 0, problem }
        }));
    }
    if faults.is_empty() { Ok(()) } else { Err(ApplyError::Invalid(faults)) }
}

/// What is wrong with the use of a child with these inputs, or without any such version.
pub(super) fn judged(
    child: &Child,
    inputs: Option<Vec<(String, Input)>>,
    is_own: bool,
) -> (Vec<String>, Option<String>) {
    match inputs {
        Some(inputs) => (misfits(child, &inputs), None),
        None if child.version.is_some() => {
            let hint = format!("`jobshop workflow versions {}` lists them", child.name);
            (vec!["there is no such version".to_owned()], Some(hint))
        }
        None if is_own => (vec!["it is retired with this".to_owned()], None),
        None => (vec!["the name stands for nothing yet".to_owned()], None),
    }
}

/// What of a child's `with` its inputs do not take, as far as it is known before it runs.
fn misfits(child: &Child, inputs: &[(String, Input)]) -> Vec<String> {
    let is_given = |name: &str| child.with.iter().any(|(given, _)| given == name);
    let mut misfits: Vec<String> = missing_inputs(inputs, is_given)
        .map(|name| format!("the input `{name}` is required"))
        .collect();
    for (name, value) in &child.with {
        // A value with a template in it is known when the task begins.
        let is_known = !value.to_string().contains("${{");
        let is_unknown_name = !inputs.iter().any(|(known, _)| known == name);
        if is_known || is_unknown_name {
            misfits.extend(input_problem(inputs, name, value));
        }
    }
    misfits
}

/// The inputs of the version that a name stands for, or of a numbered one.
pub(super) async fn inputs_of(
    tx: &mut PgConnection,
    tenant: TenantId,
    name: &str,
    number: Option<i32>,
) -> sqlx::Result<Option<Vec<(String, Input)>>> {
    let inputs = sqlx::query_scalar!(
        r#"select v.plan -> 'inputs' as "inputs!: sqlx::types::Json<Vec<(String, Input)>>"
             from workflows w
             join workflow_versions v on v.tenant_id = w.tenant_id and v.name = w.name
                                     and v.version = coalesce($3, w.applied)
            where w.tenant_id = $1 and w.name = $2"#,
        tenant.0,
        name,
        number
    )
    .fetch_optional(tx)
    .await?;
    Ok(inputs.map(|inputs| inputs.0))
}

/// A problem with what a task uses: where it stands first after the task's name.
pub(super) fn use_problem(
    text: &str,
    (task, reference): (&str, &str),
    message: String,
    hint: Option<String>,
) -> Problem {
    let after = text.find(&format!("{task}:")).unwrap_or(0);
    let at = text[after..].find(reference).map(|at| after + at).or_else(|| text.find(reference));
    let (line, column) = at.map_or((1, 1), |at| place(text, at));
    Problem { line, column, message, hint }
}

/// The line and the column of a byte.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    (text[..at].matches('\n').count() + 1, text[begin..at].chars().count() + 1)
}
