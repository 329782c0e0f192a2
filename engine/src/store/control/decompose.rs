//! Goals that are broken down: the session that follows a plan, or makes one first. The plan is made
//! and judged by [`crate::decompose`]; here its workflow is stored like any other version.

use serde_json::{Map, Value, json};

use crate::{
    attempt::{self, Workspace},
    decompose::{self, Breakdown, Goal, Hours, Setting},
    expression::{self, values::Values},
    id::TenantId,
    outcome::{ErrorClass, Failure},
    plan::{Decompose, Node, NodeIndex, Plan, PlanSource},
    store::{Hint, SessionInfo, Store, sessions::NewSession},
    workflow::{self, Problem},
};

/// What the plan of an agent may be put out beside.
const BESIDE: [&str; 7] =
    ["commit", "base", "diff_stat", "summary", "usage", "exit_code", "findings"];
const TITLE_CHARS_MAX: usize = 80;

/// A session that is to begin, and the plan that it follows, where that is known already.
pub(super) struct Made {
    pub(super) new: NewSession,
    pub(super) plan: Option<Value>,
}

/// The session for a goal. `with` is what was rendered of the task.
pub(super) async fn new_session(
    store: &Store,
    tenant: TenantId,
    info: &SessionInfo,
    (node, values): (NodeIndex, &Values),
    with: Map<String, Value>,
) -> sqlx::Result<Result<Made, Failure>> {
    let made = match made(info, node, values, with) {
        Ok(made) => made,
        Err(failure) => return Ok(Err(failure)),
    };
    let version =
        store.versions.intern(&store.pool, tenant, &made.definition, &made.workflow).await?;
    store.hints.send(Hint::Route);
    let title: String = made.goal.lines().next().unwrap_or_default().trim().to_owned();
    let title = title.chars().take(TITLE_CHARS_MAX).collect::<String>();
    Ok(Ok(Made {
        new: NewSession {
            inputs: made.inputs,
            title: Some(title).filter(|title| !title.is_empty()),
            file_dir: info.file_dir.clone(),
            ..NewSession::new(version)
        },
        plan: made.plan,
    }))
}

/// What a session is made of.
struct Parts {
    goal: String,
    definition: String,
    workflow: Plan,
    inputs: Map<String, Value>,
    plan: Option<Value>,
}

fn made(
    info: &SessionInfo,
    index: NodeIndex,
    values: &Values,
    mut with: Map<String, Value>,
) -> Result<Parts, Failure> {
    let plan = &info.version.plan;
    let node = plan.node(index);
    let Some(how) = node.decompose() else {
        return Err(Failure::new(ErrorClass::Error, "the task breaks nothing down"));
    };
    let (place, env) = attempt::surroundings(plan, index, values, info.file_dir.as_deref())?;
    let goal = with.get("goal").map(expression::to_text).unwrap_or_default();
    let breakdown = breakdown(node, how, &goal, &mut with)?;
    let workspace = node.workspace.as_ref();
    let (repo, base) = match place {
        Workspace::Clone { repo, base, at } => (Some(repo), at.or(base)),
        Workspace::Empty => (None, None),
    };
    let setting = Setting {
        how,
        has_repo: repo.is_some(),
        has_base: base.is_some(),
        setup: workspace.map_or(&[], |workspace| workspace.setup.as_slice()),
        quota: workspace.and_then(|workspace| workspace.quota),
        env: env.iter().map(|(name, _)| name.as_str()).collect(),
        requires: &node.requires,
        timeout: node.timeout,
        verify: node.expected.verify.as_ref(),
        prefers: node.prefers.as_ref(),
    };
    let following = breakdown.as_ref().filter(|_| how.approval.is_none());
    let made = match following {
        Some(breakdown) => decompose::following(breakdown, &setting),
        None => decompose::deciding(&setting),
    };
    let (definition, workflow) = made.map_err(|problems| unfit(&problems))?;
    let shown = breakdown.as_ref().map(Breakdown::json);
    let mut inputs = with;
    inputs.insert("goal".to_owned(), json!(goal));
    inputs.insert("env".to_owned(), env.into_iter().map(|(k, v)| (k, json!(v))).collect());
    inputs.extend(shown.clone().map(|plan| ("plan".to_owned(), plan)));
    inputs.extend(repo.map(|repo| ("repo".to_owned(), json!(repo))));
    inputs.extend(base.map(|base| ("base".to_owned(), json!(base))));
    inputs.entry("planner_prompt").or_insert_with(|| json!(decompose::planner_words(&goal)));
    inputs.entry("message").or_insert_with(|| json!(format!("May this plan be followed?\n{goal}")));
    inputs.retain(|name, _| workflow.inputs.iter().any(|(known, _)| known == name));
    Ok(Parts { goal, definition, workflow, inputs, plan: shown })
}

/// The plan, where no agent has to make it first.
fn breakdown(
    node: &Node,
    how: &Decompose,
    goal: &str,
    with: &mut Map<String, Value>,
) -> Result<Option<Breakdown>, Failure> {
    if goal.trim().is_empty() {
        return Err(Failure::new(ErrorClass::Template, "`goal` is empty"));
    }
    match how.source {
        PlanSource::Planner => Ok(None),
        PlanSource::Template => {
            let name = with.get("template").map(expression::to_text).unwrap_or_default();
            let Some(template) = decompose::template(name.trim()) else {
                let known: Vec<&str> =
                    decompose::templates().iter().map(|it| it.name.as_str()).collect();
                let why = format!("there is no template `{name}`: there are {}", known.join(", "));
                return Err(Failure::new(ErrorClass::Template, why));
            };
            let hours = node.estimate.map(|estimate| Hours {
                optimistic: hours(estimate.optimistic.ms),
                likely: hours(estimate.likely.ms),
                pessimistic: hours(estimate.pessimistic.ms),
            });
            let goal = Goal { text: goal, hours, depth_max: how.max_depth };
            Ok(Some(decompose::expand(&goal, template)))
        }
        PlanSource::Given => {
            let plan = with.remove("plan").unwrap_or_default();
            decompose::read(&given(plan)?, goal, how.max_depth).map(Some).map_err(|faults| {
                let why = format!("the plan cannot be followed: {faults}");
                Failure::new(ErrorClass::Schema, why)
            })
        }
    }
}

/// A plan may be handed over as text, in YAML or JSON, and beside what an agent puts out.
fn given(plan: Value) -> Result<Value, Failure> {
    let mut plan = plan;
    if let Value::String(text) = &plan {
        plan = workflow::value(text).map_err(|problems| unfit(&problems))?;
    }
    if let Value::Object(map) = &mut plan {
        map.retain(|key, _| !BESIDE.contains(&key.as_str()));
    }
    Ok(plan)
}

fn hours(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64() / 3_600.0
}

/// Why no workflow can be made of a plan.
fn unfit(problems: &[Problem]) -> Failure {
    let told: Vec<String> = problems
        .iter()
        .take(5)
        .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
        .collect();
    Failure::new(ErrorClass::Schema, format!("the plan cannot be followed: {}", told.join("; ")))
}
