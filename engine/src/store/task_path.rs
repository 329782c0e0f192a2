//! Between the number of a row and the key that users read, `build[api].check`. The root block's
//! rows are known from the plan alone; below a `for_each` group the keys of the items stand in the
//! items' own rows.

use std::collections::{HashMap, HashSet};

use super::{
    flags,
    view::{ReadError, Views},
};
use crate::{
    id::SessionKey,
    plan::{BlockIndex, NodeIndex, Plan, ROOT_BASE},
};

/// The keys of some tasks of a session.
#[derive(Debug, Default)]
pub(super) struct Paths {
    places: HashMap<i32, Place>,
}

/// Where a row stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seq: i32,
    pub(super) node: i32,
    pub(super) parent: Option<i32>,
    pub(super) flags: i16,
    pub(super) item_key: Option<String>,
}

impl Place {
    fn is_item(&self) -> bool {
        self.flags & flags::ITEM != 0
    }

    /// The row of the item it stands in; for an item's own row that of the item around its group.
    fn enclosing_item(&self, plan: &Plan) -> Option<i32> {
        let node = plan.node(NodeIndex::from_code(self.node));
        if let Some(undone) = node.compensates.map(|undone| plan.node(undone)) {
            let row: i32 = self.item_key.as_ref()?.parse().ok()?;
            return (undone.block != BlockIndex::ROOT).then(|| row - undone.position);
        }
        let row = if self.is_item() { self.parent? } else { self.seq };
        (node.block != BlockIndex::ROOT).then(|| row - node.position)
    }
}

/// The node of a row of the root block.
fn root_node(plan: &Plan, seq: i32) -> Option<NodeIndex> {
    let position = usize::try_from(seq - ROOT_BASE).ok()?;
    plan.block(BlockIndex::ROOT).nodes.get(position).copied()
}

impl Paths {
    /// The key of a row that was asked for when loading; a number that no row has gives `None`.
    pub(super) fn path(&self, plan: &Plan, seq: i32) -> Option<String> {
        if let Some(node) = root_node(plan, seq) {
            return Some(plan.path(node, &[]));
        }
        let place = self.places.get(&seq)?;
        let node = NodeIndex::from_code(place.node);
        let mut items = Vec::new();
        let mut around = place.enclosing_item(plan);
        while let Some(item) = around.and_then(|seq| self.places.get(&seq)) {
            items.push(item.item_key.as_deref().unwrap_or_default());
            around = item.enclosing_item(plan);
        }
        items.reverse();
        let path = plan.path(node, &items);
        Some(if place.is_item() {
            format!("{path}[{}]", place.item_key.as_deref().unwrap_or_default())
        } else {
            path
        })
    }

    /// The rows whose places are still to be read before these have their keys.
    fn missing(&self, plan: &Plan, asked: &HashSet<i32>) -> Vec<i32> {
        let around = self.places.values().filter_map(|place| place.enclosing_item(plan));
        let wanted: HashSet<i32> = asked.iter().copied().chain(around).collect();
        wanted
            .into_iter()
            .filter(|seq| !self.places.contains_key(seq) && root_node(plan, *seq).is_none())
            .collect()
    }
}

impl Views {
    /// Loads what the keys of these rows are made of; `known` are places the caller has read.
    pub(super) async fn paths(
        &self,
        session: SessionKey,
        plan: &Plan,
        seqs: impl IntoIterator<Item = i32>,
        known: impl IntoIterator<Item = Place>,
    ) -> Result<Paths, ReadError> {
        let places = known.into_iter().map(|place| (place.seq, place)).collect();
        let mut paths = Paths { places };
        let mut asked: HashSet<i32> = seqs.into_iter().collect();
        loop {
            let missing = paths.missing(plan, &asked);
            if missing.is_empty() {
                return Ok(paths);
            }
            let found = self.places(session, &missing).await?;
            paths.places.extend(found.into_iter().map(|place| (place.seq, place)));
            // A number without a row is not asked for again.
            asked.retain(|seq| paths.places.contains_key(seq));
        }
    }

    async fn places(&self, session: SessionKey, seqs: &[i32]) -> sqlx::Result<Vec<Place>> {
        // Of a new table nothing is known, and `any` would look through the whole session.
        sqlx::query_as!(
            Place,
            "select t.seq, t.node, t.parent, t.flags, t.item_key
               from unnest($3::int[]) as k (seq)
              cross join lateral (
                    select * from tasks t
                     where t.tenant_id = $1 and t.session_id = $2 and t.seq = k.seq
                     limit 1) t",
            session.tenant.0,
            session.id.0,
            seqs,
        )
        .fetch_all(&self.db)
        .await
    }

    /// The number of the task with this key (or with this number).
    pub async fn find_task(&self, session: SessionKey, key: &str) -> Result<i32, ReadError> {
        let version = self.version_of(session).await?;
        let found = match key.parse::<i32>() {
            Ok(seq) => Some(seq),
            Err(_) => self.resolve(session, &version.plan, key).await?,
        };
        found.ok_or_else(|| ReadError::NoTask { session: session.id, key: key.to_owned() })
    }

    async fn resolve(
        &self,
        session: SessionKey,
        plan: &Plan,
        key: &str,
    ) -> Result<Option<i32>, ReadError> {
        let Some(steps) = steps(key) else { return Ok(None) };
        let mut base = ROOT_BASE;
        let mut group = None;
        let mut found = None;
        let last = steps.len() - 1;
        for (index, step) in steps.iter().enumerate() {
            let undoing = |(undone, _): &(NodeIndex, NodeIndex)| Some(*undone) == group;
            if index == last
                && step.id == "compensate"
                && let Some((_, own)) = plan.compensations().find(undoing)
            {
                return Ok(self.undoing_row(session, own, found).await?);
            }
            let Some(node) = child(plan, group, step.id) else { return Ok(None) };
            let seq = base + plan.node(node).position;
            found = Some(seq);
            let has_items = plan.group(node).map(|group| !group.is_plain());
            match (step.item, has_items) {
                (Some(item), Some(true)) => {
                    let Some(row) = self.item_row(session, seq, item).await? else {
                        return Ok(None);
                    };
                    (base, found) = (row, Some(row));
                }
                (None, Some(false)) => {}
                // A task, or the whole of a group, can only be what the key ends with, or is undone.
                (None, _) if index == last => {}
                (None, None) if index + 1 == last && steps[last].id == "compensate" => {}
                _ => return Ok(None),
            }
            group = Some(node);
        }
        Ok(found)
    }

    /// The last row that undoes the task at row `undone`.
    async fn undoing_row(
        &self,
        session: SessionKey,
        node: NodeIndex,
        undone: Option<i32>,
    ) -> sqlx::Result<Option<i32>> {
        sqlx::query_scalar!(
            "select seq from tasks
              where tenant_id = $1 and session_id = $2 and node = $3 and item_key = $4
              order by seq desc
              limit 1",
            session.tenant.0,
            session.id.0,
            node.code(),
            undone.map(|seq| seq.to_string()),
        )
        .fetch_optional(&self.db)
        .await
    }

    /// The row of one item of a `for_each` group, or of a round, when it was laid down.
    async fn item_row(
        &self,
        session: SessionKey,
        group: i32,
        key: &str,
    ) -> Result<Option<i32>, ReadError> {
        let row = sqlx::query_scalar!(
            r#"select t.seq
                 from expansions e
                cross join lateral (
                          select (i.nth - 1)::int as nth
                            from jsonb_array_elements(e.list) with ordinality as i (item, nth)
                           where i.item ->> 0 = $4
                           limit 1
                      ) i
                 join tasks t on t.tenant_id = e.tenant_id and t.session_id = e.session_id
                             and t.seq = e.base + i.nth * e.block_rows
                where e.tenant_id = $1 and e.session_id = $2 and e.seq = $3"#,
            session.tenant.0,
            session.id.0,
            group,
            key,
        )
        .fetch_optional(&self.db)
        .await?;
        Ok(row)
    }
}

fn child(plan: &Plan, group: Option<NodeIndex>, id: &str) -> Option<NodeIndex> {
    let among = match group {
        Some(group) => plan.group(group)?.children.clone(),
        None => plan
            .block(BlockIndex::ROOT)
            .nodes
            .iter()
            .copied()
            .filter(|node| plan.node(*node).parent.is_none())
            .collect(),
    };
    among.into_iter().find(|node| plan.node(*node).id == id)
}

/// One name of a key, `build[api]`.
#[derive(Debug, PartialEq, Eq)]
struct Step<'a> {
    id: &'a str,
    item: Option<&'a str>,
}

/// The names of a key; keys of items may hold dots, but no brackets.
fn steps(key: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = key;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (id, after) = rest.split_at(end);
        let (item, after) = match after.strip_prefix('[') {
            Some(inner) => {
                let (item, after) = inner.split_once(']')?;
                (Some(item), after)
            }
            None => (None, after),
        };
        steps.push(Step { id, item });
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(steps),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_name_by_name() {
        let step = |id, item| Step { id, item };
        assert_eq!(steps("plan"), Some(vec![step("plan", None)]));
        assert_eq!(
            steps("build[src/a.rs].fix.check"),
            Some(vec![step("build", Some("src/a.rs")), step("fix", None), step("check", None)])
        );
        assert_eq!(steps("build[0]"), Some(vec![step("build", Some("0"))]));
        assert_eq!(steps("build[0]x"), None);
        assert_eq!(steps("build[0"), None);
    }
}
