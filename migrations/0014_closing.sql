-- What follows the tasks of a session once its result is decided: compensation, then finally.
alter table session_progress
    -- The plan has tasks that run after the result is decided.
    add column epilogue boolean not null default false,
    -- 0 its tasks, 1 compensation, 2 finally (engine::closing::Phase).
    add column phase smallint not null default 0,
    -- The state it will end in, once that is decided or asked for.
    add column result smallint,
    add constraint session_progress_phase check (phase between 0 and 2);

comment on column session_progress.sweep is
    '0 nothing; 1 a failure under fail_fast; 2 the session has ended; 3 it is to end with a result; '
    '4 finally ran out of time: the janitor cancels what is open';

alter table expansions
    -- A loop: its rounds are laid down one at a time, in rows that are reserved for all of them.
    add column rounds boolean not null default false;

alter table sessions
    -- The session whose task this one is, and how many stand above it.
    add column parent_id uuid,
    add column depth smallint not null default 0;

create index sessions_parent on sessions (tenant_id, parent_id, id) where parent_id is not null;

-- Which session an attempt at a task with `uses: workflow` is.
create table child_sessions (
    tenant_id  uuid    not null,
    parent_id  uuid    not null,
    parent_seq integer not null,
    attempt    integer not null,
    child_id   uuid    not null,
    -- Its end has been told to the task, or the task ended without it.
    over       boolean not null default false,
    constraint child_sessions_pkey primary key (tenant_id, parent_id, parent_seq, attempt)
);

create index child_sessions_open on child_sessions (tenant_id, child_id) where not over;
