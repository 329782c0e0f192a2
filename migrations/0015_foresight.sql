-- Definitions with who applied or retired them, how long tasks wait to start, and what becomes of
-- sessions that ended long ago.
alter table workflows
    -- Who made the name stand for what it stands for, or for nothing, and when. Null for a name that
    -- was never applied; applied is null and these are not for one that was retired.
    add column changed_by text,
    add column changed_at timestamptz;

alter table workflow_versions
    -- How long its sessions are kept once they ended; null takes the default.
    add column retention_ms bigint;

-- How long the tasks of a version may wait to start.
create table start_limits (
    tenant_id  uuid    not null,
    version_id uuid    not null,
    node       integer not null,
    ms         bigint  not null,
    constraint start_limits_pkey primary key (tenant_id, version_id, node),
    constraint start_limits_ms check (ms > 0)
);

-- Ready tasks with such a limit (flag 8192). Nothing in it changes in a finish.
create index tasks_start_limited on tasks (ready_at) where queued and flags & 8192 <> 0;

-- Sessions with such a limit, until they began or the limit was looked at.
alter table session_progress add column start_by timestamptz;
create index session_progress_start_by on session_progress (start_by) where start_by is not null;

-- Sessions that were written to an archive; nothing else of them is left here once they are cleared.
create table archived_sessions (
    tenant_id   uuid        not null,
    id          uuid        not null,
    title       text        not null,
    workflow    text        not null,
    version     integer     not null,
    -- As in session_progress.
    state       smallint    not null,
    created_at  timestamptz not null,
    finished_at timestamptz not null,
    archived_at timestamptz not null,
    -- Where the archive is, as a URL.
    location    text        not null,
    -- The SHA-256 of the file.
    digest      bytea       not null,
    -- False while rows of its tasks, events and logs are still being removed.
    cleared     boolean     not null default false,
    constraint archived_sessions_pkey primary key (tenant_id, id),
    constraint archived_sessions_state check (state between 5 and 11)
);

create index archived_sessions_uncleared on archived_sessions (tenant_id, id) where not cleared;
-- The tenant comes last, as in sessions_tail.
create index archived_sessions_tail on archived_sessions ((right(id::text, 6)), tenant_id);

alter table schedules
    -- What became of earlier fires is forgotten; they are not made up for any more.
    add column forgotten_to timestamptz;
