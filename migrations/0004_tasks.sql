-- The tasks: queue, graph and history in one narrow table.
create table tasks (
    tenant_id    uuid        not null,
    session_id   uuid        not null,
    seq          integer     not null,
    -- Position in the plan, and the row of the enclosing group or item.
    node         integer     not null,
    parent       integer,
    route        integer     not null,
    priority     smallint    not null,
    -- Bits of engine::store::flags.
    flags        smallint    not null,
    -- The order of TaskState::ALL: 0 pending, 1 ready, 2 assigned, 3 in_progress, 4 blocked,
    -- 5 paused, 6 completed, 7 failed, 8 cancelled, 9 skipped.
    state        smallint    not null,
    -- The order of Reason::ALL.
    reason       smallint,
    -- Exactly while the row is ready: the ready index hangs on this and not on state, so that a
    -- finish changes no index.
    queued       boolean     not null default false,
    -- The control loop has to decide it.
    undecided    boolean     not null default false,
    -- It waits for wake_at.
    delayed      boolean     not null default false,
    -- Needs (or, of a running group, children) that have not ended, and those that ended badly.
    blockers     integer     not null,
    bad          integer     not null default 0,
    attempt      integer     not null default 0,
    -- The last attempt whose start was reported.
    noted        integer     not null default 0,
    failures     integer     not null default 0,
    crashes      integer     not null default 0,
    worker       uuid,
    -- ready_at moved by the priority: the order in the route.
    rank         timestamptz,
    ready_at     timestamptz,
    started_at   timestamptz,
    finished_at  timestamptz,
    wake_at      timestamptz,
    -- The last attempt that ended, so that a repeated finish is answered as the first was.
    last_attempt integer,
    last_worker  uuid,
    last_outcome smallint,
    dependents   integer[],
    output       jsonb,
    -- SHA-256 of an output that stands in blobs.
    output_blob  bytea,
    error        jsonb,
    item_key     text,
    item         jsonb,
    created_at   timestamptz,
    constraint tasks_pkey primary key (tenant_id, session_id, seq),
    constraint tasks_state check (state between 0 and 9),
    constraint tasks_priority check (priority between 0 and 4),
    constraint tasks_queued check (queued = (state = 1)),
    constraint tasks_undecided check (not undecided or state in (0, 4)),
    constraint tasks_delayed check (not delayed or (state = 4 and wake_at is not null)),
    constraint tasks_worker check (state <> 3 or worker is not null)
) with (
    -- A page has room for each of its rows thrice: as it was created, claimed, and ended.
    fillfactor = 35, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05
);

create index tasks_ready on tasks (route, rank) where queued;
create index tasks_undecided on tasks (tenant_id, session_id, seq) where undecided;
create index tasks_delayed on tasks (wake_at) where delayed;

-- What a for_each group still has to lay down.
create table expansions (
    tenant_id    uuid    not null,
    session_id   uuid    not null,
    -- The group's row.
    seq          integer not null,
    version_id   uuid    not null,
    block        integer not null,
    block_rows   integer not null,
    -- The row of the first item; item i stands at base + i * block_rows.
    base         integer not null,
    items        integer not null,
    -- Items laid down so far.
    laid         integer not null default 0,
    max_parallel integer,
    -- Keys and values, in order: [[key, value], …].
    list         jsonb   not null,
    -- True until the last item is laid down.
    unfinished   boolean not null default true,
    constraint expansions_pkey primary key (tenant_id, session_id, seq)
);

create index expansions_unfinished on expansions (tenant_id, session_id, seq) where unfinished;
