-- Opens rows of a session again and lets the session go; the session's row is locked already.
-- $1 tenant, $2 session, $3 actor, then per row: $4 seq, $5 state, $6 blockers, $7 undecided,
-- $8 timeout_ms of a group that goes on (-1 none); $9 whether the workflow says fail_fast,
-- $10 what was asked for, $11 other inputs (null: none)
-- per row: $12 it is a group that had begun and goes on, now or later, $13 it waits for such a group;
-- $14 the flag for the latter
with input as materialized (
    select i.*, clock() as at
      from unnest($4::int[], $5::smallint[], $6::int[], $7::bool[], $8::bigint[], $12::bool[],
                  $13::bool[])
           as i (seq, state, blockers, undecided, timeout_ms, begun, gated)
), before as materialized (
    select t.seq, t.state, t.flags, t.parent
      from input i
      join tasks t on t.tenant_id = $1 and t.session_id = $2 and t.seq = i.seq
), opened as (
    update tasks t
       set state = i.state, queued = i.state = 1, undecided = i.undecided,
           delayed = i.timeout_ms >= 0,
           wake_at = case when i.timeout_ms >= 0
                          then i.at + i.timeout_ms * interval '1 millisecond' end,
           reason = case when i.state = 4 then 0::smallint end, blockers = i.blockers, bad = 0,
           failures = 0, crashes = 0, output = null, output_blob = null, error = null,
           ready_at = case when i.state = 1 then i.at end,
           rank = case when i.state = 1 then i.at + priority_offset(t.priority) end,
           flags = case when i.gated then t.flags | $14::smallint else t.flags & ~ $14::smallint end,
           started_at = case when i.begun then coalesce(t.started_at, i.at) end, finished_at = null
      from input i
     where t.tenant_id = $1 and t.session_id = $2 and t.seq = i.seq and t.state >= 6
), forgotten as (
    delete from expansions e
     using input i
     where e.tenant_id = $1 and e.session_id = $2 and e.seq = i.seq and not i.begun
), goes_on as (
    update expansions e set unfinished = e.laid < e.items
      from input i
     where e.tenant_id = $1 and e.session_id = $2 and e.seq = i.seq and i.state = 4
), let_go as (
    update session_progress p
       set state = 1, sweep = 0, retry = p.retry + 1, finished_at = null,
           phase = 0, result = null, fail_fast = $9, hold = null,
           inputs = coalesce($11::jsonb, p.inputs),
           undecided = not exists (select from before where parent is null),
           error = null, bad = 0, allowed = 0, next_event = p.next_event + 2,
           open = (select count(*) from before where parent is null),
           completed = p.completed
                       - (select count(*) from before where state = 6 and flags & 1 <> 0),
           failed = p.failed - (select count(*) from before where state = 7 and flags & 1 <> 0),
           cancelled = p.cancelled
                       - (select count(*) from before where state = 8 and flags & 1 <> 0),
           skipped = p.skipped - (select count(*) from before where state = 9 and flags & 1 <> 0),
           timed = p.timeout_ms is not null,
           deadline_at = clock() + p.timeout_ms * interval '1 millisecond'
     where p.tenant_id = $1 and p.session_id = $2
    returning p.next_event - 2 as number, p.retry, clock() as at
), cleared as (
    update sessions s set outputs = null where s.tenant_id = $1 and s.id = $2
)
insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats,
                    bodies, actor)
select $1, $2, number, number + 1, at, array[0::smallint, 1::smallint],
       array[null::int, null::int], array[null::int, null::int], array[at, at],
       array[jsonb_build_object('retry', retry) || $10::jsonb, jsonb_build_object('retry', retry)], $3
  from let_go
