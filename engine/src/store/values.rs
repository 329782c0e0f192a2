//! Loads what the templates of rows refer to. Where a row stands follows from its number and its
//! node; only the enclosing items and the fan-outs have to be looked up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{SessionInfo, Store, flags};
use crate::{
    expression::values::{ItemValue, SessionFacts, TaskValue, Values},
    id::SessionKey,
    outcome::{ErrorClass, Failure},
    plan::{BlockIndex, NodeIndex, Plan, References},
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
    /// The session's outputs are wanted, not a row's templates.
    of_session: bool,
}

impl Request {
    pub fn new(info: Arc<SessionInfo>, node: NodeIndex, seq: i32) -> Self {
        Self { info, node, seq, of_session: false }
    }

    /// What the session's own outputs refer to.
    pub fn of_session(info: Arc<SessionInfo>) -> Self {
        Self { info, node: NodeIndex(0), seq: crate::plan::ROOT_BASE, of_session: true }
    }

    fn plan(&self) -> &Plan {
        &self.info.version.plan
    }

    fn references(&self) -> &References {
        let plan = self.plan();
        if self.of_session { &plan.output_references } else { &plan.node(self.node).references }
    }

    /// The base of the innermost block the row stands in.
    fn base(&self) -> i32 {
        if self.of_session { self.seq } else { self.seq - self.plan().node(self.node).position }
    }

    fn block(&self) -> BlockIndex {
        if self.of_session { BlockIndex::ROOT } else { self.plan().node(self.node).block }
    }
}

type RowKey = (SessionKey, i32);

/// A row as far as templates may look at it.
struct Row {
    node: NodeIndex,
    parent: Option<i32>,
    state: TaskState,
    flags: i16,
    output: Option<String>,
    error: Option<Value>,
    item_key: Option<String>,
    item: Option<Value>,
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
    Ok(requests
        .iter()
        .zip(places)
        .map(|(request, place)| {
            let facts = facts.get(&request.info.key).cloned().unwrap_or_default();
            values(request, place, facts, &rows, &items)
        })
        .collect())
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
            lists.insert(*node, items.of(plan, (info.key, seq), deep, &mut size)?);
        }
    }
    Ok(Values {
        inputs: info.inputs.clone(),
        session: SessionFacts { id: info.key.id.to_string(), title: info.title.clone(), ..facts },
        workflow: (plan.name.clone(), info.version.number),
        tasks,
        items: lists,
        item: place.items,
    })
}

/// The row of a node of the request's block or of one around it.
fn seq_of(plan: &Plan, place: &Place, node: NodeIndex) -> Option<i32> {
    let node = plan.node(node);
    Some(place.bases.get(&node.block)? + node.position)
}

/// Adds up what is loaded for one request.
struct Size(usize);

impl Size {
    fn value(&mut self, row: &Row) -> Result<TaskValue, Failure> {
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

/// The fan-outs that were asked for, with all that stands in their items.
struct Items {
    /// The base of the first item, rows an item takes, and how many are laid down.
    spans: HashMap<RowKey, (i32, i32, i32)>,
    rows: HashMap<SessionKey, BTreeMap<i32, Row>>,
}

impl Items {
    async fn load(store: &Store, groups: &HashSet<RowKey>) -> sqlx::Result<Self> {
        let mut items = Self { spans: HashMap::new(), rows: HashMap::new() };
        let mut wanted: Vec<RowKey> = groups.iter().copied().collect();
        while !wanted.is_empty() {
            let spans = spans(store, &wanted).await?;
            let inner = ranges(store, &spans).await?;
            wanted.clear();
            for ((session, seq), row) in inner {
                // A fan-out inside an item is looked up in its turn.
                if row.flags & flags::GROUP != 0 {
                    wanted.push((session, seq));
                }
                items.rows.entry(session).or_default().insert(seq, row);
            }
            items.spans.extend(spans);
        }
        Ok(items)
    }

    fn of(
        &self,
        plan: &Plan,
        group: RowKey,
        deep: bool,
        size: &mut Size,
    ) -> Result<Vec<ItemValue>, Failure> {
        let (Some((base, block_rows, laid)), Some(rows)) =
            (self.spans.get(&group), self.rows.get(&group.0))
        else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for index in 0..*laid {
            let first = base + index * block_rows;
            let Some(item) = rows.get(&first) else { continue };
            let mut value = ItemValue {
                key: item.item_key.clone().unwrap_or_default(),
                index: usize::try_from(index).unwrap_or_default(),
                status: item.state,
                tasks: BTreeMap::new(),
                items: BTreeMap::new(),
            };
            for (seq, row) in rows.range(first + 1..first + block_rows).filter(|_| deep) {
                value.tasks.insert(row.node, size.value(row)?);
                if plan.group(row.node).is_some_and(|group| group.for_each.is_some()) {
                    value.items.insert(row.node, self.of(plan, (group.0, *seq), true, size)?);
                }
            }
            found.push(value);
        }
        Ok(found)
    }
}

/// Keys as columns.
fn columns(keys: impl Iterator<Item = RowKey>) -> (Vec<Uuid>, Vec<Uuid>, Vec<i32>, Vec<RowKey>) {
    let keys: Vec<RowKey> = keys.collect();
    let tenants = keys.iter().map(|(session, _)| session.tenant.0).collect();
    let sessions = keys.iter().map(|(session, _)| session.id.0).collect();
    let seqs = keys.iter().map(|(_, seq)| *seq).collect();
    (tenants, sessions, seqs, keys)
}

fn nth(keys: &[RowKey], slot: i64) -> RowKey {
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

async fn spans(store: &Store, groups: &[RowKey]) -> sqlx::Result<HashMap<RowKey, (i32, i32, i32)>> {
    let (tenants, sessions, seqs, keys) = columns(groups.iter().copied());
    let spans = sqlx::query_file!("src/store/sql/value_spans.sql", &tenants, &sessions, &seqs)
        .fetch_all(&store.pool)
        .await?;
    Ok(spans
        .into_iter()
        .map(|row| (nth(&keys, row.slot), (row.base, row.block_rows, row.laid)))
        .collect())
}

/// Every row of the fan-outs.
async fn ranges(
    store: &Store,
    spans: &HashMap<RowKey, (i32, i32, i32)>,
) -> sqlx::Result<Vec<(RowKey, Row)>> {
    let (tenants, sessions, _, keys) = columns(spans.keys().copied());
    let span = |key: &RowKey| spans.get(key).copied().unwrap_or_default();
    let from: Vec<i32> = keys.iter().map(|key| span(key).0).collect();
    let until: Vec<i32> =
        keys.iter().map(span).map(|(base, rows, laid)| base + rows * laid).collect();
    let rows =
        sqlx::query_file!("src/store/sql/value_ranges.sql", &tenants, &sessions, &from, &until)
            .fetch_all(&store.pool)
            .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some((
                (nth(&keys, row.slot).0, row.seq),
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
