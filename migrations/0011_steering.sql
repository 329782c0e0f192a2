-- What people do to sessions and tasks that are under way, and what a watchdog says of them.
alter table session_progress
    -- The janitor has ready rows to move: to paused while the session is paused, back otherwise.
    add column moving boolean not null default false,
    -- Who or what holds a session that is paused or degraded, since when and why.
    add column hold jsonb,
    -- The inputs since a retry with other ones.
    add column inputs jsonb;

create index session_progress_moving on session_progress (tenant_id, session_id) where moving;
create index session_progress_hold on session_progress (tenant_id, session_id) where hold is not null;

alter table tasks
    -- What a row was that somebody paused: 0 pending, 1 ready, 2 pending and to be decided,
    -- 4 blocked. Says something only while the row is paused by hand.
    add column was smallint,
    -- Why it was blocked.
    add column was_reason smallint,
    add constraint tasks_was check (was in (0, 1, 2, 4));

-- Whether needs that end are counted in a row, paused or not.
create function counts_needs(state smallint, was smallint) returns boolean
language sql immutable parallel safe
return state = 0 or (state = 5 and was in (0, 2));

-- Whether children that end are counted in a row, paused or not.
create function counts_children(
    state smallint, reason smallint, was smallint, was_reason smallint
) returns boolean
language sql immutable parallel safe
return (state = 4 and reason = 0) or (state = 5 and was = 4 and was_reason = 0);

-- As before, and a paused row stays what it is.
create or replace function disposition(
    state smallint, undecided boolean, flags smallint, "left" integer, bad integer, good bigint
) returns integer
language sql immutable parallel safe
return case
    when undecided or state = 5 then 0
    when state = 4 then case when "left" = 0 then 2 else 0 end
    when flags & 4 <> 0 and good > 0 then case when flags & 2 <> 0 then 1 else 2 end
    when "left" > 0 then 0
    when flags & 4 <> 0 then 2
    when flags & 2 <> 0 and (bad = 0 or flags & 8 <> 0) then 1
    else 2
end;

alter table sessions
    -- The session that this one was forked off, and the task at which.
    add column forked_from uuid,
    add column forked_at   text,
    -- Deleted sessions are hidden until they are restored.
    add column deleted_at  timestamptz,
    add column deleted_by  text;

-- Routes with ready tasks that no live worker can run.
create table route_gaps (
    tenant_id  uuid        not null,
    route      integer     not null,
    since      timestamptz not null,
    -- How far the sessions that wait in it were looked through.
    looked_to  timestamptz,
    constraint route_gaps_pkey primary key (tenant_id, route)
);
