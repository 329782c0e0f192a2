-- Limits: the locks of tasks and the places of sessions. What is limited is a row, and so is each
-- turn; whoever grants or gives back holds the row of the limit.
create table limits (
    tenant_id  uuid        not null,
    -- 0 a lock of tasks, 1 the places of sessions.
    kind       smallint    not null,
    name       text        not null,
    -- How many may hold it, as the newest definition that names it says.
    capacity   integer     not null,
    workflow   text        not null,
    defined_at timestamptz not null,
    held       integer     not null default 0,
    -- The capacity; more while more hold it than a smaller capacity lets.
    ceiling    integer     not null,
    -- The control loop has to look who is next: a grant met a row that somebody held.
    due        boolean     not null default false,
    constraint limits_pkey primary key (tenant_id, kind, name),
    constraint limits_kind check (kind between 0 and 1),
    constraint limits_capacity check (capacity between 1 and ceiling),
    constraint limits_held check (held between 0 and ceiling)
) with (fillfactor = 50);

create index limits_due on limits (tenant_id, kind, name) where due;

create sequence ticket_numbers;

-- Turns: a task with several names has a ticket for each, all with the same place in the one order.
create table tickets (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    -- The row of the task or item; 0: the session itself.
    seq        integer     not null,
    kind       smallint    not null,
    name       text        not null,
    -- The order: the rank of the session, then the arrival.
    rank       timestamptz not null,
    number     bigint      not null,
    -- How many tickets its holder has.
    total      smallint    not null,
    -- Its row becomes ready with it; otherwise the control loop decides what it does.
    starts     boolean     not null,
    since      timestamptz not null,
    held_since timestamptz,
    held       boolean     not null default false,
    -- It is paused: it keeps its turn and lets others pass.
    parked     boolean     not null default false,
    -- Of a session: it has the one that has held its place longest cancelled.
    ousts      boolean     not null default false,
    constraint tickets_pkey primary key (tenant_id, session_id, seq, kind, name),
    constraint tickets_held check (held = (held_since is not null)),
    constraint tickets_parked check (not (held and parked))
) with (fillfactor = 50);

-- A line: who waits, in order, and who holds.
create index tickets_line on tickets (tenant_id, kind, name, held, parked, rank, number);

create index tickets_ousting on tickets (tenant_id, kind, name) where ousts and not held;

alter table session_progress
    -- It needs a place to run.
    add column limited boolean not null default false;

comment on column session_progress.sweep is
    '-1 it waits for its place; 0 nothing; 1 a failure under fail_fast; 2 the session has ended; '
    '3 it is to end with a result; 4 finally ran out of time: the janitor cancels what is open';
