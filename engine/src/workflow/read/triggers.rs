//! What starts sessions of a workflow by itself.

use std::rc::Rc;

use chrono::{DateTime, Utc};

use super::{
    Read,
    fields::Fields,
    words::{SCHEDULE, TRIGGERS},
    workflow::positive,
};
use crate::{
    schedule::{CatchUp, Cron, Overlap, is_schedule_name, zone_from_name},
    workflow::{
        definition::{At, Text, Trigger, Triggers, Zone},
        problem::Problems,
        tree::Tree,
    },
};

impl Read for Triggers {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &TRIGGERS, problems)?;
        let triggers = Self { schedule: fields.or_default("schedule") };
        fields.finish();
        Some(triggers)
    }
}

impl Read for Trigger {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &SCHEDULE, problems)?;
        let id: Option<At<String>> = fields.required("id");
        let cron: Option<Cron> = fields.required("cron");
        let timezone = fields.optional("timezone");
        let with = fields.optional("with");
        let overlap = fields.or_default("overlap");
        let catch_up = fields.or_default("catch_up");
        let catch_up_window = positive(&mut fields, "catch_up_window");
        let jitter = fields.optional("jitter");
        let pause_after = at_least_one(&mut fields, "pause_after");
        let max_runs = at_least_one(&mut fields, "max_runs");
        let (start, until) = (fields.optional("start"), fields.optional("until"));
        if let Some(id) = &id
            && !is_schedule_name(&id.value)
        {
            fields.problems.hint(
                id.at,
                format!("`{}` cannot be the id of a schedule", id.value),
                "use 1 to 64 lower-case letters, digits, `-` and `_`, the first a letter or digit",
            );
        }
        fields.finish();
        Some(Self {
            id: id?,
            cron: cron?,
            timezone,
            with,
            overlap,
            catch_up,
            catch_up_window,
            jitter,
            pause_after,
            max_runs,
            start,
            until,
        })
    }
}

fn at_least_one(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<u32> {
    let number: At<u32> = fields.optional(key)?;
    if number.value == 0 {
        fields.problems.add(number.at, format!("`{key}` must be 1 or more"));
        return None;
    }
    Some(number.value)
}

impl Read for Cron {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let text = Text::read(tree, name, problems)?;
        text.text
            .parse()
            .map_err(|error: crate::schedule::CronError| {
                problems.hint(tree.at, error.message, error.cure);
            })
            .ok()
    }
}

impl Read for Zone {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let text = Text::read(tree, name, problems)?.text;
        zone_from_name(&text)
            .map(Zone)
            .map_err(|cure| {
                problems.hint(tree.at, format!("{name}: there is no zone `{text}`"), cure);
            })
            .ok()
    }
}

impl Read for DateTime<Utc> {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let text = Text::read(tree, name, problems)?.text;
        let moment = DateTime::parse_from_rfc3339(&text).map(|at| at.to_utc());
        if moment.is_err() {
            let message = format!("{name} must be a moment, not `{text}`");
            problems.hint(tree.at, message, "write it as in 2026-01-31T02:00:00Z");
        }
        moment.ok()
    }
}

impl Read for Overlap {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        super::scalars::word(tree, name, &Self::ALL, problems)
    }
}

impl Read for CatchUp {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        super::scalars::word(tree, name, &Self::ALL, problems)
    }
}
