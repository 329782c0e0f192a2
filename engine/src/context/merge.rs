//! Two contexts become one, seen from what both were before: what one side changed is taken, and
//! where both changed the same place differently there is a conflict, which a strategy settles or
//! nobody does.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Change, Path, between};

/// What happens where both sides changed the same place differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Nothing is merged; a person looks at the conflicts.
    #[default]
    Manual,
    /// The side that wrote there later.
    LastWriteWins,
    /// Lists become one, with what either side added and without what either removed. Other
    /// conflicts stay.
    DeepMerge,
    /// The side that is merged.
    PreferSource,
    /// The side that it is merged into.
    PreferTarget,
}

impl Strategy {
    const ALL: [Self; 5] = [
        Self::Manual,
        Self::LastWriteWins,
        Self::DeepMerge,
        Self::PreferSource,
        Self::PreferTarget,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::LastWriteWins => "last_write_wins",
            Self::DeepMerge => "deep_merge",
            Self::PreferSource => "prefer_source",
            Self::PreferTarget => "prefer_target",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|strategy| strategy.as_str() == text);
        let names = Self::ALL.map(Self::as_str).join(", ");
        found.ok_or_else(|| format!("`{text}` is no strategy; one of {names}"))
    }
}

/// One of the two that are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Target,
    Source,
    Both,
}

/// A place that both changed, and differently. What is left out was not there.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Conflict {
    #[schema(value_type = String, example = "build.status")]
    pub path: Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Value>,
    /// Whose value it has now; null where the strategy does not settle it.
    pub taken: Option<Side>,
}

/// What a merge comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// What the target becomes; as far as conflicts are not settled, what it is.
    pub data: Map<String, Value>,
    /// What changes in the target.
    pub changes: Vec<Change>,
    /// In the order of their places.
    pub conflicts: Vec<Conflict>,
}

impl Merged {
    /// Whether every conflict is settled.
    pub fn is_settled(&self) -> bool {
        self.conflicts.iter().all(|conflict| conflict.taken.is_some())
    }
}

/// Merges `source` into `target`; `base` is what both were. `later` says which side wrote at a place
/// later; it is asked by [`Strategy::LastWriteWins`] alone.
pub fn merge(
    base: &Map<String, Value>,
    target: &Map<String, Value>,
    source: &Map<String, Value>,
    strategy: Strategy,
    later: &dyn Fn(&Path) -> Side,
) -> Merged {
    let mut merging = Merging { strategy, later, conflicts: Vec::new() };
    let data = merging.objects(&Path::default(), base, (target, source));
    let changes = between(target, &data);
    Merged { data, changes, conflicts: merging.conflicts }
}

struct Merging<'a> {
    strategy: Strategy,
    later: &'a dyn Fn(&Path) -> Side,
    conflicts: Vec<Conflict>,
}

impl Merging<'_> {
    fn objects(
        &mut self,
        at: &Path,
        base: &Map<String, Value>,
        (target, source): (&Map<String, Value>, &Map<String, Value>),
    ) -> Map<String, Value> {
        let added = source.keys().filter(|key| !target.contains_key(*key));
        let mut keys: Vec<&String> = target.keys().chain(added).collect();
        keys.sort_unstable();
        let mut merged = Map::new();
        for key in keys {
            let sides = (target.get(key), source.get(key));
            if let Some(value) = self.values(&at.child(key), base.get(key), sides) {
                merged.insert(key.clone(), value);
            }
        }
        merged
    }

    fn values(
        &mut self,
        at: &Path,
        base: Option<&Value>,
        (target, source): (Option<&Value>, Option<&Value>),
    ) -> Option<Value> {
        if target == source || source == base {
            return target.cloned();
        }
        if target == base {
            return source.cloned();
        }
        if let (Some(Value::Object(target)), Some(Value::Object(source))) = (target, source) {
            let none = Map::new();
            let base = base.and_then(Value::as_object).unwrap_or(&none);
            return Some(Value::Object(self.objects(at, base, (target, source))));
        }
        let settled = self.settle(at, base, (target, source));
        self.conflicts.push(Conflict {
            path: at.clone(),
            base: base.cloned(),
            target: target.cloned(),
            source: source.cloned(),
            taken: settled.as_ref().map(|(side, _)| *side),
        });
        settled.map_or_else(|| target.cloned(), |(_, value)| value)
    }

    fn settle(
        &self,
        at: &Path,
        base: Option<&Value>,
        (target, source): (Option<&Value>, Option<&Value>),
    ) -> Option<(Side, Option<Value>)> {
        let side = match self.strategy {
            Strategy::Manual => return None,
            Strategy::DeepMerge => {
                let (Some(Value::Array(target)), Some(Value::Array(source))) = (target, source)
                else {
                    return None;
                };
                let base = base.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                return Some((Side::Both, Some(Value::Array(lists(base, target, source)))));
            }
            Strategy::LastWriteWins => (self.later)(at),
            Strategy::PreferSource => Side::Source,
            Strategy::PreferTarget => Side::Target,
        };
        let value = if side == Side::Source { source } else { target };
        Some((side, value.cloned()))
    }
}

/// The target's list without what the source removed, and after it what the source added.
fn lists(base: &[Value], target: &[Value], source: &[Value]) -> Vec<Value> {
    let kept = target.iter().filter(|value| !base.contains(value) || source.contains(value));
    let added = source.iter().filter(|value| !base.contains(value) && !target.contains(value));
    kept.chain(added).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::Strategy as Any;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn merged(strategy: Strategy, [base, target, source]: [Value; 3]) -> Merged {
        let later = |path: &Path| if path.to_string() == "b" { Side::Source } else { Side::Target };
        merge(&object(base), &object(target), &object(source), strategy, &later)
    }

    #[test]
    fn what_one_side_changed_is_taken_whatever_the_strategy() {
        for strategy in Strategy::ALL {
            let all = merged(
                strategy,
                [
                    json!({ "kept": 1, "a": { "x": 1, "y": 1 }, "gone": 1, "lost": 1, "same": 1 }),
                    json!({ "kept": 1, "a": { "x": 2, "y": 1 }, "lost": 1, "same": 2, "new": null }),
                    json!({ "kept": 1, "a": { "x": 1, "y": 2, "z": 3 }, "gone": 1, "same": 2 }),
                ],
            );
            let data =
                json!({ "kept": 1, "a": { "x": 2, "y": 2, "z": 3 }, "same": 2, "new": null });
            assert_eq!((Value::Object(all.data), all.conflicts), (data, vec![]), "{strategy}");
        }
    }

    /// The conflicts are the same for all; the strategies differ in what becomes of them.
    #[test]
    fn strategies_settle_conflicts_each_in_its_way() {
        let three = [
            json!({ "a": 1, "b": 1, "list": [1, 2], "gone": { "x": 1 } }),
            json!({ "a": 2, "b": 2, "list": [2, 3], "gone": { "x": 2 } }),
            json!({ "a": 3, "b": 3, "list": [1, 2, 4] }),
        ];
        let data = |strategy| {
            let merged = merged(strategy, three.clone());
            let places: Vec<String> =
                merged.conflicts.iter().map(|it| it.path.to_string()).collect();
            assert_eq!(places, ["a", "b", "gone", "list"], "{strategy}");
            let open: Vec<String> = merged
                .conflicts
                .iter()
                .filter(|it| it.taken.is_none())
                .map(|it| it.path.to_string())
                .collect();
            (Value::Object(merged.data), open.join(" "))
        };
        let ours = three[1].clone();
        assert_eq!(data(Strategy::Manual), (ours.clone(), "a b gone list".to_owned()));
        assert_eq!(data(Strategy::PreferTarget), (ours, String::new()));
        assert_eq!(data(Strategy::PreferSource), (three[2].clone(), String::new()));
        let later = json!({ "a": 2, "b": 3, "list": [2, 3], "gone": { "x": 2 } });
        assert_eq!(data(Strategy::LastWriteWins), (later, String::new()));
        let deep = json!({ "a": 2, "b": 2, "list": [2, 3, 4], "gone": { "x": 2 } });
        assert_eq!(data(Strategy::DeepMerge), (deep, "a b gone".to_owned()));
    }

    fn tree() -> impl Any<Value = Map<String, Value>> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), Just(json!({}))];
        let inner = prop::collection::btree_map("[xy]", leaf.clone(), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()));
        let any = prop_oneof![leaf, inner];
        prop::collection::btree_map("[abc]", any, 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn who_changed_nothing_has_no_say(base in tree(), other in tree()) {
            let later = |_: &Path| Side::Target;
            let one = merge(&base, &base, &other, Strategy::Manual, &later);
            let two = merge(&base, &other, &base, Strategy::Manual, &later);
            prop_assert_eq!((&one.data, &two.data), (&other, &other));
            prop_assert!(one.conflicts.is_empty() && two.conflicts.is_empty());
        }

        /// A conflict is at every place that both changed differently, and nowhere else.
        #[test]
        fn conflicts_are_exact(base in tree(), target in tree(), source in tree()) {
            let later = |_: &Path| Side::Target;
            let all = merge(&base, &target, &source, Strategy::Manual, &later);
            for conflict in &all.conflicts {
                prop_assert!(conflict.target != conflict.source);
                prop_assert!(conflict.target != conflict.base && conflict.source != conflict.base);
            }
            let open = |path: &Path| all.conflicts.iter().any(|it| it.path.touches(path));
            for change in between(&base, &source).iter().filter(|it| !open(&it.path)) {
                let mut found = Some(Value::Object(all.data.clone()));
                for key in change.path.keys() {
                    found = found.and_then(|value| value.get(key).cloned());
                }
                let is_object = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_object);
                // Inside an object that the source added, the target may have added too.
                prop_assert!(found == change.new || is_object(&found) && is_object(&change.new));
            }
            let mirrored = merge(&base, &source, &target, Strategy::Manual, &later);
            let places = |merged: &Merged| merged.conflicts.iter().map(|it| it.path.clone()).collect::<Vec<_>>();
            prop_assert_eq!(places(&all), places(&mirrored));
        }
    }
}
