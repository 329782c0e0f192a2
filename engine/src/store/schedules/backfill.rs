//! Making up by hand for times of a schedule that nothing was decided for. It does not know what the
//! clock fires.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Done, ScheduleError, commit, lock, refuse_disabled, version_of};
use crate::{
    id::{SessionId, TenantId},
    schedule::{Overlap, ScheduleId},
    store::{
        Store,
        schedule_rows::{self, Cause, FireKind, FireState, Fires},
    },
};

/// Times that one request makes up for at most.
const TIMES_MAX: usize = 1_000;

/// What became of a time that was to be made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfilled {
    pub fire_time: DateTime<Utc>,
    pub state: FireState,
    pub session: Option<SessionId>,
}

/// Makes up for the times from `from` to `to` that nothing was decided for, all at once where
/// sessions may overlap, else one after the other.
pub async fn backfill(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    actor: Option<&str>,
) -> Done<Vec<Backfilled>> {
    let version = version_of(store, tenant, id).await?;
    let mut tx = store.pool.begin().await?;
    let mut found = refuse_disabled(lock(&mut tx, tenant, id).await?)?;
    if to > found.now {
        return Err(ScheduleError::Invalid("`to` lies in the future".to_owned()));
    }
    if let Some(forgotten) = found.forgotten_to.filter(|forgotten| from <= *forgotten) {
        let to = forgotten.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let why = format!("what became of its times up to {to} is forgotten; begin later");
        return Err(ScheduleError::Invalid(why));
    }
    let schedule = &mut found.schedule;
    let times: Vec<DateTime<Utc>> = schedule
        .rule
        .fires(from - TimeDelta::microseconds(1))
        .take_while(|time| *time <= to)
        .take(TIMES_MAX + 1)
        .collect();
    if times.len() > TIMES_MAX {
        let why = format!("these are more than {TIMES_MAX} times; take a shorter span");
        return Err(ScheduleError::Invalid(why));
    }
    let known = schedule_rows::known(&mut tx, &[(schedule, from)]).await?;
    let mut fires = Fires::default();
    let cause = Cause { kind: FireKind::Backfill, by: actor };
    let mut done = Vec::new();
    for fire_time in times {
        if known.contains(&(tenant.0, id.to_string(), fire_time)) {
            continue;
        }
        if schedule.rule.overlap == Overlap::Allow {
            let session = fires.start(schedule, fire_time, cause, &version)?;
            schedule.open += 1;
            done.push(Backfilled { fire_time, state: FireState::Started, session: Some(session) });
        } else {
            fires.note(schedule, fire_time, (cause, FireState::Queued), None);
            schedule.queued += 1;
            done.push(Backfilled { fire_time, state: FireState::Queued, session: None });
        }
    }
    commit(store, tx, fires, found.schedule).await?;
    Ok(done)
}
