//! Schedules: when sessions start by the clock. Pure: what fires now and what next follows from a
//! rule, from where its schedule stands, and from the time that is given. It knows no rows.

mod cron;
mod id;
mod rule;
mod timetable;
mod turn;

pub use self::{
    cron::{Cron, CronError},
    id::{NotAScheduleId, ScheduleId, is_schedule_name},
    rule::{CatchUp, Overlap, Rule, zone_from_name},
    timetable::Timetable,
    turn::{Due, Fire, Standing, Then, Turn, turn},
};
