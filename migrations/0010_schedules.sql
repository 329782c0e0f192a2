-- Schedules: when sessions start by the clock, and what became of each of their fires.
create table schedules (
    tenant_id    uuid        not null,
    -- WORKFLOW/NAME.
    id           text        not null,
    workflow     text        not null,
    -- 0 a trigger of the workflow, 1 made by hand.
    source       smallint    not null,
    rule         jsonb       not null,
    -- The rule holds since then: earlier times are nobody's.
    since        timestamptz not null,
    -- The fire that comes next, and when it is due: later where there is jitter. Null while nothing
    -- is to come: paused, removed, or ended.
    next_fire    timestamptz,
    due_at       timestamptz,
    last_fire    timestamptz,
    -- Fires that started a session or wait in line for it.
    runs         integer     not null default 0,
    -- Failures in a row.
    failures     integer     not null default 0,
    -- Its sessions that have not ended, and its fires that wait in line.
    open         integer     not null default 0,
    queued       integer     not null default 0,
    paused_at    timestamptz,
    pause_reason text,
    -- The workflow has no such trigger any more.
    removed_at   timestamptz,
    created_by   text,
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    constraint schedules_pkey primary key (tenant_id, id),
    constraint schedules_source check (source between 0 and 1),
    constraint schedules_counts check (runs >= 0 and failures >= 0 and open >= 0 and queued >= 0),
    constraint schedules_due check ((next_fire is null) = (due_at is null)),
    constraint schedules_quiet check (due_at is null or (paused_at is null and removed_at is null)),
    constraint schedules_workflow foreign key (tenant_id, workflow) references workflows (tenant_id, name)
);

create index schedules_due on schedules (due_at) where due_at is not null;
create index schedules_queued on schedules (tenant_id, id)
 where queued > 0 and open = 0 and paused_at is null and removed_at is null;
-- The tenant comes last, as in sessions_tail.
create index schedules_workflow on schedules (workflow, tenant_id);

-- A fire is decided once: its time is part of its key.
create table schedule_fires (
    tenant_id   uuid        not null,
    schedule_id text        not null,
    fire_time   timestamptz not null,
    -- 0 by the clock, 1 by hand, 2 made up for by hand.
    kind        smallint    not null,
    -- 0 waits in line, 1 started a session, 2 skipped, 3 missed, 4 failed to start one.
    state       smallint    not null,
    session_id  uuid,
    -- Its session has not ended, as far as the schedule knows.
    open        boolean     not null default false,
    reason      text,
    decided_at  timestamptz not null,
    constraint schedule_fires_pkey primary key (tenant_id, schedule_id, fire_time),
    constraint schedule_fires_kind check (kind between 0 and 2),
    constraint schedule_fires_state check (state between 0 and 4),
    constraint schedule_fires_session check ((state = 1) = (session_id is not null)),
    constraint schedule_fires_is_open check (not open or state = 1)
);

create index schedule_fires_open on schedule_fires (tenant_id, schedule_id) where open;
create index schedule_fires_queued on schedule_fires (tenant_id, schedule_id, fire_time) where state = 0;
create unique index schedule_fires_of_session on schedule_fires (tenant_id, session_id)
 where session_id is not null;

-- The schedule that started it.
alter table sessions add column schedule_id text;
