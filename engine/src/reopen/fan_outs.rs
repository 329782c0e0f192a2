//! Retries of fan-outs that repeat only the items that failed.

use super::{EndedRow, RowKind, Spread, Table, ended_badly};
use crate::task::TaskState;

impl Table<'_> {
    /// Fan-outs go on with the items that failed, instead of beginning anew.
    pub(super) fn keep_good_items(&self, spread: &mut Spread) {
        // One without items looks like a group in which nothing stands.
        let is_empty = |row: &EndedRow| {
            row.kind == RowKind::PlainGroup
                && row.state == TaskState::Completed
                && !self.children.contains_key(&row.seq)
        };
        // In a group that runs again there is nothing to keep.
        let is_in_it =
            |row: &EndedRow| self.around(row).iter().any(|group| spread.again.contains(&group.seq));
        let is_fan_out = |row: &&EndedRow| {
            spread.again.contains(&row.seq)
                && (row.kind == RowKind::ForEachGroup || is_empty(row))
                && !is_in_it(row)
        };
        let fan_outs: Vec<&EndedRow> = self.rows.iter().filter(is_fan_out).collect();
        for group in fan_outs {
            spread.again.remove(&group.seq);
            let inside = self.inside(group.seq);
            let needs_again = |row: &&EndedRow| {
                row.dependents.contains(&group.seq)
                    && (spread.again.contains(&row.seq) || spread.around.contains(&row.seq))
            };
            // One in which nothing failed stays as it is, unless it holds up what needs it.
            let goes_on = (!group.begun && !is_empty(group))
                || inside.iter().any(|row| ended_badly(row))
                || self.rows.iter().any(|row| needs_again(&row));
            if goes_on {
                spread.around.insert(group.seq);
            }
            for row in inside {
                spread.dropped.remove(&row.seq);
            }
        }
    }
}
