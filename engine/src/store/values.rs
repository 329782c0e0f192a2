//! Loads what the templates of rows refer to. Where a row stands follows from its number and its
//! node; only the enclosing items and the fan-outs have to be looked up.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{SessionInfo, Store, item_values::Items};
use crate::{
    expression::values::{SessionFacts, TaskValue, Values},
    id::SessionKey,
    outcome::{ErrorClass, Failure},
    plan::{BlockIndex, Group, NodeIndex, Plan, References},
    session::SessionState,
    task::TaskState,
};

/// Values loaded for one row's templates hold at most so many bytes.
const VALUES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A row whose values are wanted.
#[derive(Debug, Clone)]
pub struct Request {
    pub info: Arc<SessionInfo>,
    pub node: NodeIndex,
    pub seq: i32,
    of: Of,
    /// Where the task stands that this one undoes: its block, and where that begins.
    undone: Option<(BlockIndex, i32)>,
}

/// What it is that the values are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The templates of a row.
    Row,
    /// The session's outputs.
    Session,
    /// The `until` of a loop; the row is that of the round.
    Round,
    /// The locks of an item; the row is the item's.
    Item,
    /// What a task writes into the context once it has completed.
    Context,
}

impl Request {
    pub fn new(info: Arc<SessionInfo>, node: NodeIndex, seq: i32) -> Self {
        Self { info, node, seq, of: Of::Row, undone: None }
    }

    /// What the session's own outputs refer to.
    pub fn of_session(info: Arc<SessionInfo>) -> Self {
        Self {
            info,
            node: NodeIndex(0),
            seq: crate::plan::ROOT_BASE,
            of: Of::Session,
            undone: None,
        }
    }

    /// What the `until` of the loop `group` refers to when the round at row `seq` has ended.
    pub fn of_round(info: Arc<SessionInfo>, group: NodeIndex, seq: i32) -> Self {
        Self { info, node: group, seq, of: Of::Round, undone: None }
    }

    /// What the locks of the item at row `seq` refer to.
    pub fn of_item(info: Arc<SessionInfo>, group: NodeIndex, seq: i32) -> Self {
        Self { info, node: group, seq, of: Of::Item, undone: None }
    }

    /// What a task at row `seq` writes into the context refers to; the context itself is not loaded.
    pub(super) fn of_context(info: Arc<SessionInfo>, node: NodeIndex, seq: i32) -> Self {
        Self { info, node, seq, of: Of::Context, undone: None }
    }

    fn plan(&self) -> &Plan {
        &self.info.version.plan
    }

    fn references(&self) -> &References {
        let plan = self.plan();
        let group = plan.group(self.node);
        let rounds = group.and_then(|group| group.rounds.as_ref());
        let items = group.and_then(|group| group.for_each.as_ref());
        match (self.of, rounds, items) {
            (Of::Session, ..) => &plan.output_references,
            (Of::Round, Some(rounds), _) => &rounds.references,
            (Of::Item, _, Some(each)) => &each.lock_references,
            (Of::Context, ..) => &plan.node(self.node).context.references,
            _ => &plan.node(self.node).references,
        }
    }

    /// The base of the innermost block the row stands in.
    fn base(&self) -> i32 {
        if let Some((_, base)) = self.undone {
            return base;
        }
        match self.of {
            Of::Session | Of::Round | Of::Item => self.seq,
            Of::Row | Of::Context => self.seq - self.plan().node(self.node).position,
        }
    }

    fn block(&self) -> BlockIndex {
        let plan = self.plan();
        if let Some((block, _)) = self.undone {
            return block;
        }
        match self.of {
            Of::Session => BlockIndex::ROOT,
            Of::Round | Of::Item => {
                plan.group(self.node).and_then(Group::block).unwrap_or(BlockIndex::ROOT)
            }
            Of::Row | Of::Context => plan.node(self.node).block,
        }
    }

    /// How many rounds of a loop it may look at, where it stands in one: those before its own.
    fn rounds_before(&self, group: NodeIndex, place: &Place) -> Option<i32> {
        if self.of == Of::Round && self.node == group {
            return None;
        }
        let (_, key, _) = place.items.iter().find(|(owner, _, _)| *owner == group)?;
        key.parse::<i32>().ok().map(|round| round - 1)
    }
}

pub(super) type RowKey = (SessionKey, i32);

/// A row as far as templates may look at it.
pub(super) struct Row {
    pub(super) node: NodeIndex,
    pub(super) parent: Option<i32>,
    pub(super) state: TaskState,
    pub(super) flags: i16,
    pub(super) output: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) item_key: Option<String>,
    pub(super) item: Option<Value>,
}

/// Where a request's blocks begin, and its enclosing items, outermost first.
#[derive(Default)]
struct Place {
    bases: HashMap<BlockIndex, i32>,
    items: Vec<(NodeIndex, String, Value)>,
}

/// Loads the values of each request, in order. A failure says that there is too much to load.
pub async fn load(
    store: &Store,
    requests: &[Request],
) -> sqlx::Result<Vec<Result<Values, Failure>>> {
    let found = beside_undone(store, requests).await?;
    let requests = found.as_deref().unwrap_or(requests);
    let places = places(store, requests).await?;
    let mut singles: HashSet<RowKey> = HashSet::new();
    let mut groups: HashSet<RowKey> = HashSet::new();
    for (request, place) in requests.iter().zip(&places) {
        let seq = |node: &NodeIndex| seq_of(request.plan(), place, *node);
        let references = request.references();
        let key = request.info.key;
        singles.extend(references.tasks.iter().filter_map(|node| Some((key, seq(node)?))));
        for node in references.lists.iter().chain(&references.items) {
            singles.extend(seq(node).map(|seq| (key, seq)));
            groups.extend(seq(node).map(|seq| (key, seq)));
        }
    }
    let rows = rows(store, &singles).await?;
    let items = Items::load(store, &groups).await?;
    let facts = facts(store, requests).await?;
    let contexts = contexts(store, requests).await?;
    Ok(requests
        .iter()
        .zip(places)
        .map(|(request, place)| {
            let facts = facts.get(&request.info.key).cloned().unwrap_or_default();
            let mut values = values(request, place, facts, &rows, &items)?;
            values.context = contexts.get(&request.info.key).cloned();
            Ok(values)
        })
        .collect())
}

/// The contexts that templates read, with everything that has been written into them.
async fn contexts(store: &Store, requests: &[Request]) -> sqlx::Result<HashMap<SessionKey, Value>> {
    let reads = |it: &&Request| it.of != Of::Context && it.references().context;
    let mut found = HashMap::new();
    for request in requests.iter().filter(reads) {
        if let Entry::Vacant(place) = found.entry(request.info.key) {
            Box::pin(super::contexts::fold(store, &request.info)).await?;
            let data = super::contexts::data(store, request.info.key).await?;
            place.insert(Value::Object(data));
        }
    }
    Ok(found)
}

/// What undoes a task sees what the task saw, and so stands beside it. `None` when nothing among the
/// requests undoes anything.
async fn beside_undone(store: &Store, requests: &[Request]) -> sqlx::Result<Option<Vec<Request>>> {
    let undone = |request: &Request| match request.of {
        Of::Row => request.plan().node(request.node).compensates,
        Of::Session | Of::Round | Of::Item | Of::Context => None,
    };
    let undoing: HashSet<RowKey> = requests
        .iter()
        .filter(|request| undone(request).is_some())
        .map(|request| (request.info.key, request.seq))
        .collect();
    if undoing.is_empty() {
        return Ok(None);
    }
    let found = rows(store, &undoing).await?;
    let beside = |request: &Request| {
        let task = request.plan().node(undone(request)?);
        let key = found.get(&(request.info.key, request.seq))?.item_key.as_ref()?;
        Some((task.block, key.parse::<i32>().ok()? - task.position))
    };
    let all = requests.iter();
    Ok(Some(all.map(|r| Request { undone: beside(r), ..r.clone() }).collect()))
}

fn values(
    request: &Request,
    place: Place,
    facts: SessionFacts,
    rows: &HashMap<RowKey, Row>,
    items: &Items,
) -> Result<Values, Failure> {
    let info = &request.info;
    let plan = request.plan();
    let references = request.references();
    let mut size = Size(0);
    let mut tasks = HashMap::new();
    let mut lists = HashMap::new();
    let all = references.tasks.iter().chain(&references.lists).chain(&references.items);
    for node in all {
        let Some(row) = seq_of(plan, &place, *node).and_then(|seq| rows.get(&(info.key, seq)))
        else {
            continue;
        };
        tasks.insert(*node, size.value(row)?);
    }
    for node in references.lists.iter().chain(&references.items) {
        if let Some(seq) = seq_of(plan, &place, *node) {
            let deep = references.items.contains(node);
            let rounds = request.rounds_before(*node, &place);
            lists.insert(*node, items.of(plan, (info.key, seq), (deep, rounds), &mut size)?);
        }
    }
    Ok(Values {
        inputs: facts.inputs.clone().unwrap_or_else(|| info.inputs.clone()),
        session: SessionFacts { id: info.key.id.to_string(), title: info.title.clone(), ..facts },
        workflow: (plan.name.clone(), info.version.number),
        tasks,
        items: lists,
        item: place.items,
        context: None,
        outputs: None,
    })
}

/// The row of a node of the request's block or of one around it.
fn seq_of(plan: &Plan, place: &Place, node: NodeIndex) -> Option<i32> {
    let node = plan.node(node);
    Some(place.bases.get(&node.block)? + node.position)
}

/// Adds up what is loaded for one request.
pub(super) struct Size(usize);

impl Size {
    pub(super) fn value(&mut self, row: &Row) -> Result<TaskValue, Failure> {
        self.0 += row.output.as_ref().map_or(0, String::len);
        if self.0 > VALUES_BYTES_MAX {
            return Err(Failure::new(
                ErrorClass::TooLarge,
                format!("what the templates refer to holds more than {VALUES_BYTES_MAX} bytes"),
            ));
        }
        let outputs = row.output.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let error = row.error.clone().and_then(|error| serde_json::from_value(error).ok());
        Ok(TaskValue { status: row.state, outputs: outputs.unwrap_or_default(), error })
    }
}

/// Finds the enclosing items of every request, from the inside out.
async fn places(store: &Store, requests: &[Request]) -> sqlx::Result<Vec<Place>> {
    let mut places: Vec<Place> = Vec::with_capacity(requests.len());
    let mut at: Vec<(BlockIndex, i32)> = Vec::with_capacity(requests.len());
    for request in requests {
        let (block, base) = (request.block(), request.base());
        places.push(Place { bases: HashMap::from([(block, base)]), items: Vec::new() });
        at.push((block, base));
    }
    loop {
        let wanted: HashSet<RowKey> = requests
            .iter()
            .zip(&at)
            .filter(|(_, (block, _))| *block != BlockIndex::ROOT)
            .map(|(request, (_, base))| (request.info.key, *base))
            .collect();
        if wanted.is_empty() {
            break;
        }
        let found = rows(store, &wanted).await?;
        for ((request, place), at) in requests.iter().zip(&mut places).zip(&mut at) {
            let plan = request.plan();
            let Some(owner) = plan.block(at.0).owner else { continue };
            let Some(row) = found.get(&(request.info.key, at.1)) else {
                *at = (BlockIndex::ROOT, crate::plan::ROOT_BASE);
                continue;
            };
            let key = row.item_key.clone().unwrap_or_default();
            place.items.insert(0, (owner, key, row.item.clone().unwrap_or_default()));
            let group = plan.node(owner);
            *at = (group.block, row.parent.unwrap_or_default() - group.position);
            place.bases.insert(at.0, at.1);
        }
    }
    Ok(places)
}

/// Keys as columns.
pub(super) fn columns(
    keys: impl Iterator<Item = RowKey>,
) -> (Vec<Uuid>, Vec<Uuid>, Vec<i32>, Vec<RowKey>) {
    let keys: Vec<RowKey> = keys.collect();
    let tenants = keys.iter().map(|(session, _)| session.tenant.0).collect();
    let sessions = keys.iter().map(|(session, _)| session.id.0).collect();
    let seqs = keys.iter().map(|(_, seq)| *seq).collect();
    (tenants, sessions, seqs, keys)
}

pub(super) fn nth(keys: &[RowKey], slot: i64) -> RowKey {
    keys[usize::try_from(slot - 1).expect("slots count from 1")]
}

async fn rows(store: &Store, keys: &HashSet<RowKey>) -> sqlx::Result<HashMap<RowKey, Row>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let (tenants, sessions, seqs, keys) = columns(keys.iter().copied());
    let rows = sqlx::query_file!("src/store/sql/value_rows.sql", &tenants, &sessions, &seqs)
        .fetch_all(&store.pool)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some((
                nth(&keys, row.slot),
                Row {
                    node: NodeIndex::from_code(row.node),
                    parent: row.parent,
                    state: TaskState::from_code(row.state)?,
                    flags: row.flags,
                    output: row.output,
                    error: row.error,
                    item_key: row.item_key,
                    item: row.item,
                },
            ))
        })
        .collect())
}

/// What changes in a session and templates may read.
async fn facts(
    store: &Store,
    requests: &[Request],
) -> sqlx::Result<HashMap<SessionKey, SessionFacts>> {
    let keys: HashSet<RowKey> = requests.iter().map(|request| (request.info.key, 0)).collect();
    let (tenants, sessions, _, keys) = columns(keys.into_iter());
    let read = async || {
        sqlx::query_file!("src/store/sql/session_facts.sql", &tenants, &sessions)
            .fetch_all(&store.pool)
            .await
    };
    let mut rows = read().await?;
    // Their first tasks are rendered before anything in them has started. What these are told has
    // to be what all others will be told.
    let reading = requests.iter().filter(|request| request.info.version.reads_start);
    let reading: HashSet<SessionKey> = reading.map(|request| request.info.key).collect();
    let lacking = rows.iter().filter(|row| row.started_at.is_none());
    let lacking: BTreeSet<SessionKey> =
        lacking.map(|row| nth(&keys, row.slot).0).filter(|key| reading.contains(key)).collect();
    if !lacking.is_empty() {
        start(store, lacking).await?;
        rows = read().await?;
    }
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Ok(rows
        .into_iter()
        .map(|row| {
            let facts = SessionFacts {
                retry: row.retry,
                started_at: row.started_at.map(text),
                result: row.result.and_then(SessionState::from_code),
                inputs: row.inputs.and_then(|inputs| inputs.as_object().cloned()),
                ..SessionFacts::default()
            };
            (nth(&keys, row.slot).0, facts)
        })
        .collect())
}

/// Gives sessions their start, as far as nobody else has.
async fn start(store: &Store, sessions: BTreeSet<SessionKey>) -> sqlx::Result<()> {
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) =
        sessions.into_iter().map(|session| (session.tenant.0, session.id.0)).unzip();
    sqlx::query_file!("src/store/sql/start_sessions.sql", &tenants, &ids)
        .execute(&store.pool)
        .await
        .map(|_| ())
}
