//! The items of fan-outs and the rounds of loops, as far as templates look at them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Store, flags,
    values::{Row, RowKey, Size, columns, nth},
};
use crate::{
    expression::values::ItemValue,
    id::SessionKey,
    outcome::Failure,
    plan::{NodeIndex, Plan},
    task::TaskState,
};

/// Where the items or rounds of a group stand.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// The row of the first.
    base: i32,
    /// Rows that one takes.
    block_rows: i32,
    /// How many are laid down.
    laid: i32,
    is_loop: bool,
}

impl Span {
    /// The rows that are read: of a loop those of the last two rounds, because who stands in the
    /// last looks at the one before.
    fn rows(self) -> std::ops::Range<i32> {
        let first = if self.is_loop { (self.laid - 2).max(0) } else { 0 };
        self.base + first * self.block_rows..self.base + self.laid * self.block_rows
    }
}

/// The fan-outs that were asked for, with all that stands in their items.
pub(super) struct Items {
    spans: HashMap<RowKey, Span>,
    rows: HashMap<SessionKey, BTreeMap<i32, Row>>,
}

impl Items {
    pub(super) async fn load(store: &Store, groups: &HashSet<RowKey>) -> sqlx::Result<Self> {
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

    pub(super) fn of(
        &self,
        plan: &Plan,
        group: RowKey,
        (deep, rounds): (bool, Option<i32>),
        size: &mut Size,
    ) -> Result<Vec<ItemValue>, Failure> {
        let (Some(span), Some(rows)) = (self.spans.get(&group), self.rows.get(&group.0)) else {
            return Ok(Vec::new());
        };
        let Span { base, block_rows, laid, is_loop } = *span;
        let mut found = Vec::new();
        let end = rounds.unwrap_or(laid).min(laid);
        let start = if is_loop { end - 1 } else { 0 };
        for index in start.max(0)..end {
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
                if plan.group(row.node).is_some_and(|group| !group.is_plain()) {
                    let inner = self.of(plan, (group.0, *seq), (true, None), size)?;
                    value.items.insert(row.node, inner);
                }
            }
            found.push(value);
        }
        Ok(found)
    }
}

async fn spans(store: &Store, groups: &[RowKey]) -> sqlx::Result<HashMap<RowKey, Span>> {
    let (tenants, sessions, seqs, keys) = columns(groups.iter().copied());
    let spans = sqlx::query_file!("src/store/sql/value_spans.sql", &tenants, &sessions, &seqs)
        .fetch_all(&store.pool)
        .await?;
    Ok(spans
        .into_iter()
        .map(|row| {
            let (base, block_rows) = (row.base, row.block_rows);
            let span = Span { base, block_rows, laid: row.laid, is_loop: row.rounds };
            (nth(&keys, row.slot), span)
        })
        .collect())
}

/// Every row of the fan-outs.
async fn ranges(store: &Store, spans: &HashMap<RowKey, Span>) -> sqlx::Result<Vec<(RowKey, Row)>> {
    let (tenants, sessions, _, keys) = columns(spans.keys().copied());
    let rows = |key: &RowKey| spans.get(key).copied().unwrap_or_default().rows();
    let from: Vec<i32> = keys.iter().map(|key| rows(key).start).collect();
    let until: Vec<i32> = keys.iter().map(|key| rows(key).end).collect();
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
