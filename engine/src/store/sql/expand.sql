-- Lays down the next items of a for_each group: their rows and everything in them.
-- $1 tenant, $2 session, $3 the group's row, $4 items laid so far (a guard), $5 how many now,
-- $6 the group's node, $7 flags of an item's row (2048: it takes locks, and is decided before
-- anything in it runs), $8 direct children of an item
with locked as materialized (
    select p.next_event, p.state, s.priority
      from session_progress p
      join sessions s on s.tenant_id = p.tenant_id and s.id = p.session_id
     where p.tenant_id = $1 and p.session_id = $2 and p.state in (1, 2, 4) and p.sweep = 0
       for no key update of p
), open as materialized (
    -- Locked after the session, and so the newest row: the group may have ended meanwhile.
    select l.next_event, l.priority
      from locked l
     cross join lateral (
           select from tasks g
            where g.tenant_id = $1 and g.session_id = $2 and g.seq = $3
              and g.state = 4 and g.reason = 0
              for no key update) g
), e as (
    update expansions e
       set laid = e.laid + $5, unfinished = e.laid + $5 < e.items
      from open
     where e.tenant_id = $1 and e.session_id = $2 and e.seq = $3 and e.laid = $4 and e.unfinished
    -- A list that something is appended to is unpacked here, once, and not again for every item.
    returning e.version_id, e.block, e.block_rows, e.base, e.list || '[]'::jsonb as list,
              open.priority, open.next_event, clock() as at
), items as materialized (
    select e.base + ($4 + i.n) * e.block_rows as base, e.list -> ($4 + i.n) as item
      from e cross join generate_series(0, $5 - 1) as i (n)
), laid as (
    insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state,
                       reason, undecided, blockers, started_at, item_key, item, created_at)
    select $1, $2, i.base, $6, $3, 0, e.priority, $7, case when k.locks then 0 else 4 end,
           case when not k.locks then 0 end, k.locks, case when k.locks then 0 else $8 end,
           case when not k.locks then e.at end, i.item ->> 0, i.item -> 1, e.at
      from items i cross join e cross join (select $7::smallint & 2048 <> 0) as k (locks)
    returning undecided
), rows as (
    insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state,
                       queued, undecided, blockers, rank, ready_at, dependents, created_at)
    select $1, $2, i.base + t.position, t.node, i.base + t.parent, t.route,
           coalesce(t.priority, e.priority), t.flags,
           (t.blockers = 0 and t.flags & 2 <> 0)::int, t.blockers = 0 and t.flags & 2 <> 0,
           t.blockers = 0 and t.flags & 2 = 0, t.blockers,
           case when t.blockers = 0 and t.flags & 2 <> 0
                then e.at + priority_offset(coalesce(t.priority, e.priority)) end,
           case when t.blockers = 0 and t.flags & 2 <> 0 then e.at end,
           (select array_agg(i.base + d) from unnest(t.dependents) as d), e.at
      from items i cross join e
      join plan_tasks t on t.tenant_id = $1 and t.version_id = e.version_id and t.block = e.block
    returning flags, queued, undecided
), logged as (
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts,
                        ats, bodies)
    select $1, $2, e.next_event, e.next_event, e.at, array[23::smallint], array[$3::int],
           array[null::int], array[e.at],
           array[jsonb_build_object('from', $4::int, 'items', $5::int)]
      from e
), counted as (
    update session_progress p
       set total = p.total + (select count(*) from rows where flags & 1 <> 0),
           next_event = p.next_event + 1
      from e
     where p.tenant_id = $1 and p.session_id = $2
)
select (select count(*) from e)::int                    as "laid!",
       (select count(*) from rows where queued)::int    as "ready!",
       (select count(*) from rows where undecided)::int
       + (select count(*) from laid where undecided)::int as "undecided!"
