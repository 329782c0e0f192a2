-- Lets the tasks under finally go: the result of the session is decided.
-- $1 tenant, $2 session, $3 retry and $4 phase as read (guards), $5 the result, $6 its error,
-- $7 outputs, $8 rows at the top of finally, $9 those of them that wait for nothing else,
-- $10 how long they may take, in ms, $11 the phase, $12 kind and $13 body of the event, $14 the result as read (guard)
with locked as materialized (
    select p.next_event, p.state
      from session_progress p
     where p.tenant_id = $1 and p.session_id = $2 and p.retry = $3 and p.phase = $4
       and p.undecided and p.open = 0 and p.state between 1 and 4
       and p.result is not distinct from $14::smallint
       -- Paused meanwhile it goes on when it is resumed; but who ended it does not wait for that.
       and (p.state <> 3 or p.result is not null)
       for no key update
), book as materialized (
    -- Not admitted so far, it is running from here on.
    select clock() as at, next_event, (state in (1, 3))::int as fresh from locked
), opened as (
    update tasks t
       set blockers  = t.blockers - 1,
           undecided = disposition(t.state, false, t.flags, t.blockers - 1, t.bad, 0) = 2,
           state     = (disposition(t.state, false, t.flags, t.blockers - 1, t.bad, 0) = 1)::int,
           queued    = disposition(t.state, false, t.flags, t.blockers - 1, t.bad, 0) = 1,
           ready_at  = case when disposition(t.state, false, t.flags, t.blockers - 1, t.bad, 0) = 1
                            then b.at end,
           rank      = case when disposition(t.state, false, t.flags, t.blockers - 1, t.bad, 0) = 1
                            then b.at + priority_offset(t.priority) end
      from book b cross join unnest($9::int[]) as k (seq)
     where t.tenant_id = $1 and t.session_id = $2 and t.seq = k.seq and t.state = 0
), counted as (
    update session_progress p
       set phase = $11, result = $5, open = $8, undecided = false, sweep = 0, fail_fast = false,
           state = case when b.fresh = 1 then 2 else p.state end,
           started_at = coalesce(p.started_at, b.at),
           timed = true, deadline_at = b.at + $10::bigint * interval '1 millisecond',
           error = coalesce($6, p.error), next_event = p.next_event + b.fresh + 1
      from book b
     where p.tenant_id = $1 and p.session_id = $2
), kept as (
    update sessions s set outputs = coalesce($7::text::jsonb, s.outputs)
      from book b
     where s.tenant_id = $1 and s.id = $2
)
insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats,
                    bodies)
select $1, $2, next_event, next_event + fresh, at,
       case when fresh = 1 then array[2::smallint] else '{}' end || $12::smallint,
       array_fill(null::int, array[1 + fresh]), array_fill(null::int, array[1 + fresh]),
       array_fill(at, array[1 + fresh]),
       case when fresh = 1 then array[null::jsonb] else '{}' end || $13::jsonb
  from book
