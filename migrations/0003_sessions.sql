-- A session: what never changes after it was submitted stands in sessions, what every transition
-- changes in the narrow session_progress.
create table sessions (
    tenant_id       uuid        not null,
    id              uuid        not null,
    version_id      uuid        not null,
    title           text        not null,
    type            text        not null,
    priority        smallint    not null,
    prompt          text,
    description     text,
    tags            text[]      not null default '{}',
    metadata        jsonb       not null default '{}',
    inputs          jsonb       not null default '{}',
    -- The folder of the workflow file, for sessions that were started from one.
    file_dir        text,
    outputs         jsonb,
    created_by      text,
    created_at      timestamptz not null,
    constraint sessions_pkey primary key (tenant_id, id),
    constraint sessions_priority check (priority between 0 and 4)
);

create table session_progress (
    tenant_id   uuid        not null,
    session_id  uuid        not null,
    version_id  uuid        not null,
    -- The order of SessionState::ALL: 0 pending, 1 queued, 2 running, 3 paused, 4 degraded,
    -- 5 completed, 6 partially_completed, 7 failed, 8 timeout, 9 stopped, 10 cancelled, 11 orphaned.
    state       smallint    not null,
    -- 0 nothing; 1 a failure under fail_fast, 2 the session has ended: the janitor cancels what is open.
    sweep       smallint    not null default 0,
    retry       integer     not null default 0,
    -- Rows at the top of the session that have not ended; 0 ends it.
    open        integer     not null,
    -- Executable tasks.
    total       integer     not null,
    completed   integer     not null default 0,
    failed      integer     not null default 0,
    cancelled   integer     not null default 0,
    skipped     integer     not null default 0,
    -- Failures that nobody allowed, and those that continue_on_failure covers.
    bad         integer     not null default 0,
    allowed     integer     not null default 0,
    -- The numbers that the next event and the next row get.
    next_event  integer     not null,
    next_seq    integer     not null,
    fail_fast   boolean     not null,
    -- The control loop ends it, because outputs have to be rendered.
    closing     boolean     not null,
    undecided   boolean     not null default false,
    timeout_ms  bigint,
    -- True while a deadline is to be watched.
    timed       boolean     not null default false,
    deadline_at timestamptz,
    error       jsonb,
    started_at  timestamptz,
    finished_at timestamptz,
    constraint session_progress_pkey primary key (tenant_id, session_id),
    constraint session_progress_state check (state between 0 and 11),
    constraint session_progress_open check (open >= 0),
    constraint session_progress_finished check ((state >= 5) = (finished_at is not null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- None of these flags changes in an ordinary finish, so finishes stay in the page.
create index session_progress_undecided on session_progress (tenant_id, session_id) where undecided;
create index session_progress_sweep on session_progress (tenant_id, session_id) where sweep > 0;
create index session_progress_deadline on session_progress (deadline_at) where timed;

create table idempotency_keys (
    tenant_id  uuid        not null,
    key        text        not null,
    session_id uuid        not null,
    -- SHA-256 of the request: the same key with another request is a conflict.
    request    bytea       not null,
    created_at timestamptz not null default clock(),
    constraint idempotency_keys_pkey primary key (tenant_id, key)
);
