//! The statements whose cost must not depend on how much history there is, by name. Each is the
//! very file that its function sends, so that what is measured is what runs. Why a statement is
//! written as it is stands in its file.

/// A statement as it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! statements {
    ($($name:literal),+ $(,)?) => {
        &[$(Statement { name: $name, sql: include_str!(concat!("sql/", $name, ".sql")) }),+]
    };
}

/// Every statement that runs all the time or on a user's every look.
pub const STATEMENTS: &[Statement] = statements![
    "all_skipped",
    "archive_due",
    "archive_remove",
    "begin_compensation",
    "begin_finally",
    "children_due",
    "children_left",
    "children_over",
    "claim",
    "claim_offered",
    "closing",
    "context_ends",
    "create",
    "due",
    "end_by_hand",
    "end_expired",
    "event_view",
    "expand",
    "finished_before",
    "forget",
    "forget_ended",
    "fork",
    "gates",
    "healed",
    "held_claims",
    "held_rows",
    "held_sessions",
    "lanes",
    "limits_lock",
    "live_routes",
    "locks_grant",
    "moving",
    "next_due",
    "note_starts",
    "offers_over",
    "open_rows",
    "overdue",
    "places_admit",
    "places_grant",
    "promote",
    "receipts",
    "renew",
    "reopen",
    "route_waiting",
    "routes",
    "schedule_fires_forget",
    "schedule_fires_old",
    "schedule_fires_write",
    "schedules_ended",
    "schedules_lock",
    "schedules_waiting",
    "schedules_write",
    "session_facts",
    "session_info",
    "session_view",
    "start_late",
    "start_sessions",
    "sweeping",
    "task_view",
    "tickets_issue",
    "tickets_park",
    "tickets_release",
    "tickets_stray",
    "transition",
    "undecided",
    "unfinished",
    "unswept",
    "value_ranges",
    "value_rows",
    "value_spans",
    "version",
    "void_fences",
];
