//! Applying definitions: their names come to stand for them, all at once or not at all. With
//! `prune`, every other name of the tenant comes to stand for nothing: it is retired. A retired
//! workflow starts no session by its name alone, and its triggers are gone; its versions, their
//! sessions and what runs stay as they are. Applying a definition of that name again revives it.
//!
//! Applies of a tenant come one after the other, so of two at once one sees what the other did.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use thiserror::Error;
use utoipa::ToSchema;

use super::{
    Hint, Store,
    pins::{inputs_of, judged, place, use_problem},
    schedules,
    workflows::{self, DefinitionError},
};
use crate::{
    id::TenantId,
    plan::Plan,
    workflow::{self, Problem, diff},
};

/// Definitions to be applied together.
#[derive(Debug, Clone, Copy)]
pub struct Applying<'a> {
    /// Each the YAML of a workflow.
    pub definitions: &'a [&'a str],
    /// Retires what the tenant has besides.
    pub prune: bool,
    /// Says what would be done and does nothing.
    pub dry_run: bool,
    pub actor: Option<&'a str>,
    pub over: Over,
}

/// What a single definition may be applied over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Anything,
    Nothing,
    Version(i32),
}

/// What applying did, or would do, to one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Applied {
    pub name: String,
    pub change: Change,
    /// The version that the name stood for.
    #[schema(required)]
    pub before: Option<i32>,
    /// The version that the name stands for then; null when it is retired.
    #[schema(required)]
    pub version: Option<i32>,
    /// The unified diff against what the name stood for, or against its newest version when it
    /// stood for nothing; null when nothing changed.
    #[schema(required)]
    pub diff: Option<String>,
    /// What may fail once it runs.
    pub warnings: Vec<String>,
}

/// How a name is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    New,
    Changed,
    Unchanged,
    /// It was retired and stands for something again.
    Revived,
    Retired,
}

/// What is wrong with one of the definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which of them.
    pub index: usize,
    pub problem: Problem,
}

#[derive(Debug, Error)]
pub enum ApplyError {
    #[error("{}", count(.0.len()))]
    Invalid(Vec<Fault>),
    #[error("the workflow's name stands for another version by now")]
    VersionChanged,
    #[error("the database did not take the workflows")]
    Database(#[from] sqlx::Error),
}

impl From<DefinitionError> for ApplyError {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Database(error) => Self::Database(error),
            DefinitionError::Invalid(problems) => Self::Invalid(
                problems.into_iter().map(|problem| Fault { index: 0, problem }).collect(),
            ),
        }
    }
}

fn count(problems: usize) -> String {
    match problems {
        1 => "the workflow is not valid: one problem".to_owned(),
        many => format!("the workflow is not valid: {many} problems"),
    }
}

/// Makes one definition what its name stands for, whatever that was before.
pub async fn apply(
    store: &Store,
    tenant: TenantId,
    definition: &str,
    actor: Option<&str>,
) -> Result<Applied, ApplyError> {
    let definitions = [definition];
    let over = Over::Anything;
    let one = Applying { definitions: &definitions, prune: false, dry_run: false, actor, over };
    let mut changes = apply_all(store, tenant, one).await?;
    Ok(changes.swap_remove(0))
}

/// Applies definitions together and says what became of each name, by name.
pub async fn apply_all(
    store: &Store,
    tenant: TenantId,
    applying: Applying<'_>,
) -> Result<Vec<Applied>, ApplyError> {
    let set = Set::compile(applying.definitions)?;
    let mut tx = store.pool.begin().await?;
    let found = examine(&mut tx, tenant, &set, applying).await?;
    tx.rollback().await?;
    if applying.dry_run {
        return Ok(found);
    }
    // Each in a transaction of its own: a version that nothing stands for changes nothing.
    for definition in &set.all {
        workflows::version_of(store, tenant, definition.text).await?;
    }
    let mut tx = store.pool.begin().await?;
    serialize(&mut tx, tenant).await?;
    let changes = examine(&mut tx, tenant, &set, applying).await?;
    for change in changes.iter().filter(|change| change.change != Change::Unchanged) {
        stand_for(&mut tx, tenant, change, applying.actor).await?;
        let definition = set.named(&change.name);
        let triggers = definition.map(|it| it.plan.schedules.as_slice()).unwrap_or_default();
        schedules::sync(&mut tx, tenant, &change.name, triggers, applying.actor).await?;
    }
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    Ok(changes)
}

/// Definitions that were compiled, by name.
struct Set<'a> {
    all: Vec<Definition<'a>>,
}

struct Definition<'a> {
    index: usize,
    text: &'a str,
    hash: Vec<u8>,
    plan: Plan,
}

impl<'a> Set<'a> {
    /// All problems of all definitions are told together.
    fn compile(definitions: &[&'a str]) -> Result<Self, ApplyError> {
        let mut faults = Vec::new();
        let mut by_name = BTreeMap::new();
        for (index, text) in definitions.iter().copied().enumerate() {
            match workflow::compile(text) {
                Ok(plan) => {
                    let name = plan.name.clone();
                    let hash = Sha256::digest(text.as_bytes()).to_vec();
                    let definition = Definition { index, text, hash, plan };
                    if let Some(first) = by_name.insert(name.clone(), definition) {
                        let message = format!("two of the files define the workflow `{name}`");
                        let hint = format!("the other is number {}", first.index + 1);
                        faults.push(fault(index, text, &name, message, Some(hint)));
                    }
                }
                Err(problems) => {
                    faults.extend(problems.into_iter().map(|problem| Fault { index, problem }));
                }
            }
        }
        if !faults.is_empty() {
            return Err(ApplyError::Invalid(faults));
        }
        Ok(Self { all: by_name.into_values().collect() })
    }

    fn named(&self, name: &str) -> Option<&Definition<'a>> {
        self.all.iter().find(|definition| definition.plan.name == name)
    }
}

/// A problem at the first place where `word` stands.
fn fault(index: usize, text: &str, word: &str, message: String, hint: Option<String>) -> Fault {
    let (line, column) = text.find(word).map_or((1, 1), |at| place(text, at));
    Fault { index, problem: Problem { line, column, message, hint } }
}

/// Lets the applies of a tenant come one after the other. Taken before anything else.
async fn serialize(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('apply ' || $1::uuid::text, 0)) as "locked!: ()""#,
        tenant.0
    )
    .fetch_one(tx)
    .await
    .map(|_| ())
}

/// What a name stands for by now.
struct Standing {
    applied: Option<i32>,
    latest: i32,
    was_retired: bool,
    /// The version with the content that is to be applied, if there is one.
    known: Option<i32>,
    /// What a diff is made against.
    base: Option<(i32, String)>,
}

/// Finds what would change, and refuses what must not be applied.
async fn examine(
    tx: &mut PgConnection,
    tenant: TenantId,
    set: &Set<'_>,
    applying: Applying<'_>,
) -> Result<Vec<Applied>, ApplyError> {
    let standings = standings(tx, tenant, set).await?;
    if let (Over::Nothing | Over::Version(_), [only]) = (applying.over, set.all.as_slice()) {
        let applied = standings.get(&only.plan.name).and_then(|standing| standing.applied);
        let wanted = if let Over::Version(number) = applying.over { Some(number) } else { None };
        if applied != wanted {
            return Err(ApplyError::VersionChanged);
        }
    }
    let mut changes: Vec<Applied> = set
        .all
        .iter()
        .map(|definition| change(definition, standings.get(&definition.plan.name)))
        .collect();
    if applying.prune {
        let kept: Vec<String> = changes.iter().map(|change| change.name.clone()).collect();
        changes.extend(retired(tx, tenant, &kept).await?);
        changes.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let faults = check_uses(tx, tenant, set, &mut changes).await?;
    if faults.is_empty() { Ok(changes) } else { Err(ApplyError::Invalid(faults)) }
}

fn change(definition: &Definition<'_>, standing: Option<&Standing>) -> Applied {
    let name = definition.plan.name.clone();
    let applied = standing.and_then(|standing| standing.applied);
    let known = standing.and_then(|standing| standing.known);
    let version = known.unwrap_or_else(|| standing.map_or(0, |standing| standing.latest) + 1);
    let kind = match (applied, standing) {
        (Some(applied), _) if applied == version => Change::Unchanged,
        (Some(_), _) => Change::Changed,
        (None, Some(standing)) if standing.was_retired => Change::Revived,
        (None, _) => Change::New,
    };
    let base = standing.and_then(|standing| standing.base.as_ref());
    let label =
        base.map_or_else(|| "/dev/null".to_owned(), |(number, _)| format!("{name}@{number}"));
    let diff = diff::unified(
        (&label, base.map_or("", |(_, text)| text)),
        (&format!("{name}@{version}"), definition.text),
    );
    Applied {
        change: kind,
        before: applied,
        version: Some(version),
        diff: (kind != Change::Unchanged && !diff.is_empty()).then_some(diff),
        warnings: Vec::new(),
        name,
    }
}

async fn standings(
    tx: &mut PgConnection,
    tenant: TenantId,
    set: &Set<'_>,
) -> sqlx::Result<HashMap<String, Standing>> {
    let names: Vec<String> =
        set.all.iter().map(|definition| definition.plan.name.clone()).collect();
    let hashes: Vec<Vec<u8>> = set.all.iter().map(|definition| definition.hash.clone()).collect();
    let rows = sqlx::query!(
        r#"select w.name, w.applied, w.latest, w.changed_at is not null as "was_applied!",
                  v.version as "known?", b.version as "base?", b.definition as "base_text?"
             from unnest($2::text[], $3::bytea[]) as d (name, hash)
             join workflows w on w.tenant_id = $1 and w.name = d.name
             left join workflow_versions v on v.tenant_id = $1 and v.name = d.name
                                          and v.hash = d.hash
             -- A version without a predecessor that was applied is compared with nothing.
             left join workflow_versions b on b.tenant_id = $1 and b.name = d.name
                                          and b.version = case when w.changed_at is null
                                                               then w.applied
                                                               else coalesce(w.applied, w.latest)
                                                           end"#,
        tenant.0,
        &names,
        &hashes
    )
    .fetch_all(tx)
    .await?;
    let standing = rows.into_iter().map(|row| {
        let standing = Standing {
            applied: row.applied,
            latest: row.latest,
            was_retired: row.applied.is_none() && row.was_applied,
            known: row.known,
            base: row.base.zip(row.base_text),
        };
        (row.name, standing)
    });
    Ok(standing.collect())
}

/// The names that stand for something and are not among those to be kept.
async fn retired(
    tx: &mut PgConnection,
    tenant: TenantId,
    kept: &[String],
) -> sqlx::Result<Vec<Applied>> {
    let rows = sqlx::query!(
        "select name, applied from workflows
          where tenant_id = $1 and applied is not null and name <> all ($2)
          order by name",
        tenant.0,
        kept
    )
    .fetch_all(tx)
    .await?;
    let change = |name, before| Applied {
        name,
        change: Change::Retired,
        before,
        version: None,
        diff: None,
        warnings: Vec::new(),
    };
    Ok(rows.into_iter().map(|row| change(row.name, row.applied)).collect())
}

/// Checks the workflows that the definitions use: a version that is pinned has to be there, or to
/// come with the same set, and to take what it is given. What a name alone stands for is decided
/// when the task begins, so that is only warned about.
async fn check_uses(
    tx: &mut PgConnection,
    tenant: TenantId,
    set: &Set<'_>,
    changes: &mut [Applied],
) -> sqlx::Result<Vec<Fault>> {
    let coming: HashMap<String, Option<i32>> =
        changes.iter().map(|change| (change.name.clone(), change.version)).collect();
    let mut faults = Vec::new();
    for definition in &set.all {
        let uses = definition.plan.nodes.iter().filter_map(|node| Some((&node.id, node.uses()?)));
        for (task, child) in uses {
            let reference = child.reference();
            let own = coming.get(&child.name).copied();
            let inputs = match (own, child.version) {
                (Some(version), number)
                    if version.is_some() && number.is_none_or(|n| Some(n) == version) =>
                {
                    set.named(&child.name).map(|used| used.plan.inputs.clone())
                }
                (Some(None), None) => None,
                (_, number) => inputs_of(tx, tenant, &child.name, number).await?,
            };
            let is_settled = child.version.is_some() || own.is_some();
            let (messages, hint) = judged(child, inputs, own.is_some());
            let messages = messages
                .into_iter()
                .map(|message| format!("`{task}` uses `{reference}`: {message}"));
            if is_settled {
                let text = definition.text;
                faults.extend(messages.map(|message| {
                    let problem = use_problem(text, (task, &reference), message, hint.clone());
                    Fault { index: definition.index, problem }
                }));
            } else if let Some(change) =
                changes.iter_mut().find(|change| change.name == definition.plan.name)
            {
                change.warnings.extend(messages);
            }
        }
    }
    Ok(faults)
}

/// Makes a name stand for what the change says.
async fn stand_for(
    tx: &mut PgConnection,
    tenant: TenantId,
    change: &Applied,
    actor: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update workflows
            set applied = $3, updated_at = clock(), changed_at = clock(), changed_by = $4
          where tenant_id = $1 and name = $2",
        tenant.0,
        change.name,
        change.version,
        actor
    )
    .execute(tx)
    .await
    .map(|_| ())
}
