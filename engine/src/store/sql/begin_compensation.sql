-- Lays down what undoes the tasks that completed, in the reverse order of their ends, each after the
-- one before.
-- $1 tenant, $2 session, $3 retry and $4 phase as read (guards), $5 the result, $6 its error,
-- $7 outputs, $8 tasks that can be undone (nodes) and $9 what undoes each (positions in its block),
-- $10 the block, $11 the phase, $12 kind and $13 body of the event, $14 the result as read (guard)
with locked as materialized (
    select p.next_event, p.next_seq, p.state, p.version_id, s.priority
      from session_progress p
      join sessions s on s.tenant_id = p.tenant_id and s.id = p.session_id
     where p.tenant_id = $1 and p.session_id = $2 and p.retry = $3 and p.phase = $4
       and p.undecided and p.open = 0 and p.state between 1 and 4
       and p.result is not distinct from $14::smallint
       -- Paused meanwhile it goes on when it is resumed; but who ended it does not wait for that.
       and (p.state <> 3 or p.result is not null)
       for no key update of p
), book as materialized (
    select clock() as at, next_event, next_seq, version_id, priority,
           (state in (1, 3))::int as fresh
      from locked
), due as materialized (
    select t.seq as undone, ($9::int[])[array_position($8::int[], t.node)] as position,
           (row_number() over (order by t.finished_at desc, t.seq desc))::int as n,
           (count(*) over ())::int as total
      from book b
     cross join lateral (
           select t.seq, t.node, t.finished_at
             from tasks t
            where t.tenant_id = $1 and t.session_id = $2 and t.state = 6
              and t.node = any ($8::int[])
           offset 0) t
), laid as (
    insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, queued,
                       undecided, blockers, rank, ready_at, dependents, item_key, created_at)
    select $1, $2, b.next_seq + d.n - 1, t.node, t.route, coalesce(t.priority, b.priority),
           t.flags,
           (d.n = 1 and t.flags & 2 <> 0)::int, d.n = 1 and t.flags & 2 <> 0,
           d.n = 1 and t.flags & 2 = 0, (d.n > 1)::int,
           case when d.n = 1 and t.flags & 2 <> 0
                then b.at + priority_offset(coalesce(t.priority, b.priority)) end,
           case when d.n = 1 and t.flags & 2 <> 0 then b.at end,
           case when d.n < d.total then array[b.next_seq + d.n] end, d.undone::text, b.at
      from book b cross join due d
     cross join lateral (
           select t.node, t.route, t.priority, t.flags
             from plan_tasks t
            where t.tenant_id = $1 and t.version_id = b.version_id
              and t.block = $10 and t.position = d.position
            limit 1) t
), counted as (
    update session_progress p
       set phase = $11, result = $5, open = d.total, total = p.total + d.total,
           next_seq = p.next_seq + d.total, undecided = false, sweep = 0, fail_fast = false,
           state = case when b.fresh = 1 then 2 else p.state end,
           started_at = coalesce(p.started_at, b.at), timed = false,
           error = coalesce($6, p.error), next_event = p.next_event + b.fresh + 1
      from book b cross join (select max(total) as total from due) d
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
