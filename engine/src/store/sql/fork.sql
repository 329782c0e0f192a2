-- Copies a session whose row is locked into a new one; some rows are open there.
-- $1 tenant, $2 the origin, $3 the new id, $4 title, $5 inputs, $6 actor, $7 the task it differs at,
-- then per row that is copied: $8 seq, $9 state (-1: shared as it is), $10 blockers, $11 undecided,
-- $12 timeout_ms of a group that goes on (-1 none); $13 fail_fast, $14 closing, $15 epilogue,
-- $16 body of the event, $17 the flag of finally; per row that is copied: $18 it is a group that has
-- begun and goes on, now or later, $19 it waits for such a group; $20 the flag for the latter;
-- $21 per row that is copied and open: what it waited for that ended badly
with origin as materialized (
    select p.version_id, p.next_seq, p.timeout_ms, clock() as at
      from session_progress p
     where p.tenant_id = $1 and p.session_id = $2
), s as (
    insert into sessions (tenant_id, id, version_id, title, type, priority, prompt, description,
                          tags, metadata, inputs, file_dir, created_by, created_at, forked_from,
                          forked_at)
    select s.tenant_id, $3, s.version_id, $4, s.type, s.priority, s.prompt, s.description, s.tags,
           s.metadata, $5, s.file_dir, $6, o.at, s.id, $7
      from sessions s cross join origin o
     where s.tenant_id = $1 and s.id = $2
), input as materialized (
    select * from unnest($8::int[], $9::smallint[], $10::int[], $11::bool[], $12::bigint[],
                         $18::bool[], $19::bool[], $21::int[])
                  as i (seq, state, blockers, undecided, timeout_ms, begun, gated, bad)
), copied as (
    insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state,
                       reason, queued, undecided, delayed, wake_at, blockers, bad, attempt, noted,
                       failures, crashes, worker, rank, ready_at, started_at, finished_at,
                       dependents, output, output_blob, error, item_key, item, created_at)
    select t.tenant_id, $3, t.seq, t.node, t.parent, t.route, t.priority,
           case when i.gated then t.flags | $20::smallint else t.flags & ~ $20::smallint end,
           case when i.state < 0 then t.state else i.state end,
           case when i.state < 0 then t.reason when i.state = 4 then 0::smallint end,
           i.state = 1, i.undecided,
           i.timeout_ms >= 0,
           case when i.timeout_ms >= 0 then o.at + i.timeout_ms * interval '1 millisecond' end,
           case when i.state < 0 then t.blockers else i.blockers end,
           case when i.state < 0 then t.bad else i.bad end,
           case when i.state < 0 then t.attempt else 0 end,
           case when i.state < 0 then t.noted else 0 end,
           case when i.state < 0 then t.failures else 0 end,
           case when i.state < 0 then t.crashes else 0 end,
           case when i.state < 0 then t.worker end,
           case when i.state = 1 then o.at + priority_offset(t.priority) end,
           case when i.state = 1 then o.at when i.state < 0 then t.ready_at end,
           case when i.state < 0 then t.started_at
                when i.begun then coalesce(t.started_at, o.at) end,
           case when i.state < 0 then t.finished_at end,
           t.dependents,
           case when i.state < 0 then t.output end,
           case when i.state < 0 then t.output_blob end,
           case when i.state < 0 then t.error end,
           t.item_key, t.item, t.created_at
      from origin o
     cross join input i
     cross join lateral (
           select * from tasks t
            where t.tenant_id = $1 and t.session_id = $2 and t.seq = i.seq
            limit 1) t
    returning state, flags, parent
), finally as (
    insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state,
                       blockers, dependents)
    select $1, $3, t.position + 1, t.node, t.parent + 1, t.route,
           coalesce(t.priority, s.priority), t.flags, 0, t.blockers, t.dependents
      from sessions s
     cross join plan_tasks t
     where s.tenant_id = $1 and s.id = $2
       and t.tenant_id = $1 and t.version_id = (select version_id from origin) and t.block = 0
       and $15 and t.flags & $17::smallint <> 0
    returning flags
), laid as (
    insert into expansions (tenant_id, session_id, seq, version_id, block, block_rows, base, items,
                            laid, max_parallel, list, unfinished, rounds)
    select e.tenant_id, $3, e.seq, e.version_id, e.block, e.block_rows, e.base, e.items, e.laid,
           e.max_parallel, e.list, e.laid < e.items and i.state = 4, e.rounds
      from expansions e
      join input i on i.seq = e.seq
     where e.tenant_id = $1 and e.session_id = $2 and (i.state = -1 or i.begun)
), counts as (
    select count(*) filter (where parent is null and state < 6) as open,
           count(*) filter (where flags & 1 <> 0)
           + (select count(*) from finally where flags & 1 <> 0) as total,
           count(*) filter (where flags & 1 <> 0 and state = 6) as completed,
           count(*) filter (where flags & 1 <> 0 and state = 7) as failed,
           count(*) filter (where flags & 1 <> 0 and state = 8) as cancelled,
           count(*) filter (where flags & 1 <> 0 and state = 9) as skipped,
           count(*) filter (where (state = 7 and flags & 32 = 0)
                               or (state = 8 and flags & 256 = 0)) as bad,
           count(*) filter (where (state = 7 and flags & 32 <> 0)
                               or (state = 8 and flags & 256 <> 0)) as allowed
      from copied
), p as (
    insert into session_progress (tenant_id, session_id, version_id, state, open, total, completed,
                                  failed, cancelled, skipped, bad, allowed, next_event, next_seq,
                                  fail_fast, closing, undecided, timeout_ms, timed, epilogue)
    select $1, $3, o.version_id, 1, c.open, c.total, c.completed, c.failed, c.cancelled, c.skipped,
           c.bad, c.allowed, 2, o.next_seq, $13, $14, c.open = 0, o.timeout_ms,
           o.timeout_ms is not null, $15
      from origin o cross join counts c
)
insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats,
                    bodies, actor)
select $1, $3, 1, 1, o.at, array[1::smallint], array[null::int], array[null::int], array[o.at],
       array[jsonb_build_object('tasks', c.total) || $16::jsonb], $6
  from origin o cross join counts c
