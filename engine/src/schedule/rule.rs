//! What a schedule was told: when, with which inputs, and what to do when things come together.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::{Cron, Due, ScheduleId, Timetable};
use crate::{duration::Span, workflow::suggest};

/// A schedule as it was written, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub cron: Cron,
    pub timezone: Tz,
    /// The inputs of its sessions.
    pub with: Map<String, Value>,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    /// Fires that nobody saw are caught up for this long.
    pub catch_up_window: Span,
    /// Every fire is late by less than this, always by as much.
    pub jitter: Option<Span>,
    /// Pauses after so many failures in a row.
    pub pause_after: Option<u32>,
    /// Ends after so many fires that started a session.
    pub max_runs: Option<u32>,
    /// Nothing fires before.
    pub start: Option<DateTime<Utc>>,
    /// Nothing fires after.
    pub until: Option<DateTime<Utc>>,
}

/// What a fire does while a session of the same schedule has not ended.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Starts a session beside it.
    Allow,
    /// Starts none.
    #[default]
    Skip,
    /// Starts one when it has ended.
    Queue,
    /// Cancels it and starts one.
    Cancel,
}

/// Which of the fires that came while nothing ran are made up for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    None,
    /// The last of them.
    #[default]
    Latest,
    All,
}

impl Overlap {
    pub const ALL: [(&'static str, Self); 4] = [
        ("allow", Self::Allow),
        ("skip", Self::Skip),
        ("queue", Self::Queue),
        ("cancel", Self::Cancel),
    ];
}

impl CatchUp {
    pub const ALL: [(&'static str, Self); 3] =
        [("none", Self::None), ("latest", Self::Latest), ("all", Self::All)];
}

impl Rule {
    /// For how long missed fires are caught up unless the rule says otherwise: a year.
    pub const CATCH_UP_WINDOW: Span = Span::from_secs(365 * 86_400);
    /// A fire that is seen so late is not a missed one.
    const ON_TIME: TimeDelta = TimeDelta::minutes(1);

    /// The usual rule for this cron.
    pub fn new(cron: Cron, timezone: Tz) -> Self {
        Self {
            cron,
            timezone,
            with: Map::new(),
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            catch_up_window: Self::CATCH_UP_WINDOW,
            jitter: None,
            pause_after: None,
            max_runs: None,
            start: None,
            until: None,
        }
    }

    /// The first fire after this instant; `None` when the rule has ended.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let just_before_start = self.start.map(|start| start - TimeDelta::microseconds(1));
        let after = just_before_start.map_or(after, |start| start.max(after));
        let next = Timetable { cron: &self.cron, zone: self.timezone }.next(after)?;
        Some(next).filter(|next| self.until.is_none_or(|until| *next <= until))
    }

    /// The fires after this instant, in order.
    pub fn fires(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        std::iter::successors(self.next(after), |fire| self.next(*fire))
    }

    /// A fire and when it is due. Jitter is the same whoever asks, and never reaches the next fire.
    pub(super) fn due(&self, schedule: &ScheduleId, fire: DateTime<Utc>) -> Due {
        let Some(jitter) = self.jitter.filter(|jitter| jitter.ms > 0) else {
            return Due { fire, at: fire };
        };
        let gap = self.next(fire).map_or(u64::MAX, |next| ms(next - fire));
        let seed = format!("{schedule}@{}", fire.timestamp());
        let digest = Sha256::digest(seed.as_bytes());
        let number =
            digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let late = number % jitter.ms.min(gap).max(1);
        Due { fire, at: fire + TimeDelta::milliseconds(late.cast_signed()) }
    }

    /// How late a fire may be seen and still start a session.
    pub(super) fn window(&self) -> TimeDelta {
        match self.catch_up {
            CatchUp::None => Self::ON_TIME,
            CatchUp::Latest | CatchUp::All => {
                TimeDelta::milliseconds(self.catch_up_window.ms.cast_signed()).max(Self::ON_TIME)
            }
        }
    }

    /// Whether both fire at the same times.
    pub fn has_times_of(&self, other: &Self) -> bool {
        self.cron == other.cron
            && self.timezone == other.timezone
            && self.start == other.start
            && self.until == other.until
            && self.jitter == other.jitter
    }
}

fn ms(delta: TimeDelta) -> u64 {
    delta.num_milliseconds().max(0).unsigned_abs()
}

/// The IANA zone of that name; otherwise what may be meant.
pub fn zone_from_name(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let all = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let same = all().find(|zone| zone.eq_ignore_ascii_case(name));
        same.map(|zone| format!("did you mean `{zone}`?"))
            .or_else(|| suggest::did_you_mean(name, all()))
            .unwrap_or_else(|| "write an IANA zone, as in Europe/Amsterdam or UTC".to_owned())
    })
}
