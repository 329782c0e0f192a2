-- Moves many tasks of many sessions at once, releases what waited for them, hands some of that to
-- the worker, counts, and logs: one statement, one transaction, however the move came about (a
-- finish, a decision of the control loop, a dead worker, a sweep).
--
-- $1 tenants uuid[], $2 sessions uuid[]: the distinct sessions, in that order; $3 retry int[] (-1: any)
-- per row: $4 slot int[] (position of its session, from 1), $5 seq int[], $6 from smallint[],
--   $7 attempt int[], $8 to smallint[], $9 reason smallint[] (-1 none), $10 output text[],
--   $11 output_blob bytea[], $12 error text[], $13 delay_ms bigint[] (-1 none),
--   $14 started_ms int[] (how long ago the attempt started; -1: not said),
--   $15 outcome smallint[] (0 none, 1 succeeded, 2 failed, 3 retried, 4 released, 5 crashed and
--      retried, 6 crashed for good), $16 children int[] (-1: it does not start to wait for any),
--   $17 opened text[] (int[] as text: rows that waited for the start of this group),
--   $18 event smallint[] (-1 none), $19 body text[], $20 quiet bool[] (nothing waits for it)
-- $21 worker uuid of the fences, $22 bool: its lease must be alive, $23 bool: ended sessions too
-- $24 routes int[], $25 room int: how many freed tasks the worker takes at once
-- $26 receipted bool[] by slot: a receipt of the worker already names the session; $27 actor text
-- $28 the reason of rows that would be ready if their session were not paused, $29 of those that wait
--   for locks: they have not begun; $30 smallint[] per row: the reason it must have (-1: any)
-- $31 int[] per row that starts to wait for children: how many of them have ended badly before
with locked as materialized (
    -- Lock order: sessions first. The row read here is the newest, whatever the snapshot.
    select k.slot, p.next_event, p.open, p.bad, p.allowed, p.state, p.sweep, p.closing,
           (p.state < 5 or $23) and ($3::int[])[k.slot] in (-1, p.retry) as alive
      from unnest($1::uuid[], $2::uuid[]) with ordinality as k (tenant_id, session_id, slot)
      join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
     order by k.slot
       for no key update of p
), book as materialized (
    -- One row of arrays, indexed by slot: a join of two of these steps has no statistics and
    -- would become a quadratic nested loop. clock() is read after the locks.
    select count(*) as n, clock() as at,
           array_agg(next_event + (state = 1)::int order by slot) as base,
           array_agg(state = 1 order by slot)                   as fresh,
           array_agg(alive order by slot)                       as alive,
           array_agg(state in (1, 2, 4) and sweep = 0 order by slot) as admitted,
           array_agg(state = 3 order by slot)                   as paused,
           array_agg(state in (1, 2, 4) and not closing order by slot) as ending,
           array_agg(open order by slot)                        as open,
           array_agg(bad order by slot)                         as bad,
           array_agg(allowed order by slot)                     as allowed,
           not $22 or exists (select from workers w
                               where w.id = $21 and w.ended_at is null
                                 and w.lease_until > clock())   as leased
      from locked
), input as materialized (
    select i.*, ($1::uuid[])[i.slot] as tenant_id, ($2::uuid[])[i.slot] as session_id
      from unnest($4::int[], $5::int[], $6::smallint[], $7::int[], $8::smallint[], $9::smallint[],
                  $10::text[], $11::bytea[], $12::text[], $13::bigint[], $14::int[],
                  $15::smallint[], $16::int[], $17::text[], $18::smallint[], $19::text[],
                  $20::bool[], $30::smallint[], $31::int[])
           with ordinality as i (slot, seq, from_state, attempt, to_state, reason, output,
                                 output_blob, error, delay_ms, started_ms, outcome, children,
                                 opened, event, body, quiet, from_reason, bad, ord)
), done as (
    -- The fence. What it does not hold for changes nothing and is answered as lost.
    update tasks t
       set state        = case when i.to_state = 1 and b.paused[i.slot] then 5 else i.to_state end,
           reason       = case when i.to_state = 1 and b.paused[i.slot] then $28::smallint
                               else nullif(i.reason, -1) end,
           queued       = i.to_state = 1 and not b.paused[i.slot],
           undecided    = i.children = 0,   -- a group with nothing in it has to be ended
           delayed      = i.delay_ms >= 0,
           wake_at      = case when i.delay_ms >= 0
                               then b.at + i.delay_ms * interval '1 millisecond' else t.wake_at end,
           output       = i.output::jsonb,
           output_blob  = i.output_blob,
           error        = case when i.outcome = 4 then t.error else i.error::jsonb end,
           blockers     = case when i.children >= 0 then i.children else t.blockers end,
           bad          = case when i.children >= 0 then i.bad else t.bad end,
           failures     = t.failures + (i.outcome in (2, 3))::int,
           crashes      = t.crashes + (i.outcome in (5, 6))::int,
           ready_at     = case when i.to_state = 1 then b.at else t.ready_at end,
           -- What is handed back keeps its place. What was lost with its worker had begun already,
           -- perhaps by hand-off: it goes ahead of what has waited for less than five minutes.
           rank         = case when i.to_state <> 1 or (i.outcome in (4, 5) and $22) then t.rank
                               when i.outcome in (4, 5)
                               then least(t.rank, b.at + priority_offset(t.priority)
                                                  - interval '5 minutes')
                               else b.at + priority_offset(t.priority) end,
           started_at   = case when i.started_ms >= 0 and t.noted < t.attempt
                               then b.at - i.started_ms * interval '1 millisecond'
                               when i.to_state = 4 and i.reason = $29::smallint then t.started_at
                               when i.from_state = 0 and i.to_state = 4 then b.at
                               when i.from_state = 4 and i.to_state = 4
                               then coalesce(t.started_at, b.at)
                               else t.started_at end,
           finished_at  = case when i.to_state >= 6 then b.at end,
           last_attempt = case when i.outcome > 0 then t.attempt else t.last_attempt end,
           last_worker  = case when i.outcome > 0 then t.worker else t.last_worker end,
           last_outcome = case when i.outcome > 0 then i.outcome else t.last_outcome end
      from book b cross join input i
     where b.leased and b.n = cardinality($2::uuid[]) and b.alive[i.slot]
       and t.tenant_id = i.tenant_id and t.session_id = i.session_id and t.seq = i.seq
       and t.state = i.from_state and t.attempt = i.attempt
       and (i.from_reason < 0 or t.reason = i.from_reason)
       and (i.from_state <> 3 or $21::uuid is null or t.worker = $21)
    returning i.slot, t.seq, t.attempt, t.state, t.reason, t.flags, t.parent, t.dependents,
              t.started_at, i.ord::int as ord, i.event, i.body, i.quiet, i.opened,
              i.started_ms >= 0 and t.noted < t.attempt as unnoted,
              -- What did not begin again after a retry has nothing to do with its earlier attempts.
              case when i.from_state > 1 then nullif(t.attempt, 0) end as told
), ranked as materialized (
    -- upto: how many events its session has in this batch up to and including this task.
    select d.*,
           sum(d.unnoted::int + (d.event >= 0)::int) over (partition by d.slot order by d.ord)::int
               as upto
      from done d
), hits as (
    -- What waited for these tasks: dependents, the enclosing group or item, and the first tasks
    -- of a group that started. Siblings are never counted.
    select u.slot, u.seq, sum(u.dep)::int as dep, sum(u.good) as good, sum(u.bad)::int as bad,
           sum(u.kid)::int as kid, sum(u.kid_bad)::int as kid_bad,
           row_number() over (partition by sum(u.dep) > 0 order by u.slot, u.seq) as place
      from (select d.slot, w.seq, 1 as dep,
                   (d.state = 6 or (d.state = 7 and d.flags & 16 <> 0))::int as good,
                   ((d.state = 7 and d.flags & 16 = 0) or d.state = 8
                     or (d.state = 9 and d.reason = 4))::int as bad,
                   0 as kid, 0 as kid_bad
              from done d cross join lateral unnest(d.dependents) as w (seq)
             where d.state >= 6 and not d.quiet
             union all
            select d.slot, d.parent, 0, 0, 0, 1,
                   ((d.state = 7 and d.flags & 16 = 0) or d.state = 8)::int
              from done d
             where d.state >= 6 and not d.quiet and d.parent is not null
             union all
            select d.slot, w.seq, 1, 1, 0, 0, 0
              from done d cross join lateral unnest(d.opened::int[]) as w (seq)) u
     group by u.slot, u.seq
), freed as (
    update tasks t
       set blockers  = t.blockers - case when counts_needs(t.state, t.was) then h.dep else h.kid end,
           bad       = t.bad + case when counts_needs(t.state, t.was) then h.bad else h.kid_bad end,
           undecided = t.undecided or disposition(t.state, t.undecided, t.flags,
                           t.blockers - case when t.state = 0 then h.dep else h.kid end,
                           t.bad + case when t.state = 0 then h.bad else h.kid_bad end, h.good) = 2,
           -- What somebody paused goes on from where it would stand by then.
           was       = case when t.state = 5 and t.was = 0
                            then disposition(0::smallint, false, t.flags, t.blockers - h.dep,
                                             t.bad + h.bad, h.good) else t.was end,
           state     = case when disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                             t.bad + h.bad, h.good) <> 1 then t.state
                            when b.paused[h.slot] then 5
                            when h.place <= $25::int and b.admitted[h.slot]
                                 and t.route = any($24::int[]) then 3 else 1 end,
           queued    = disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                   t.bad + h.bad, h.good) = 1
                       and not b.paused[h.slot]
                       and not (h.place <= $25::int and b.admitted[h.slot]
                                and t.route = any($24::int[])),
           reason    = case when b.paused[h.slot]
                                 and disposition(t.state, t.undecided, t.flags,
                                                 t.blockers - h.dep, t.bad + h.bad, h.good) = 1
                            then $28::smallint else t.reason end,
           attempt   = t.attempt + (disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                                t.bad + h.bad, h.good) = 1
                       and h.place <= $25::int and b.admitted[h.slot]
                       and t.route = any($24::int[]))::int,
           worker    = case when disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                             t.bad + h.bad, h.good) = 1
                                 and h.place <= $25::int and b.admitted[h.slot]
                                 and t.route = any($24::int[]) then $21::uuid else t.worker end,
           ready_at  = case when disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                             t.bad + h.bad, h.good) = 1 then b.at
                            else t.ready_at end,
           rank      = case when disposition(t.state, t.undecided, t.flags, t.blockers - h.dep,
                                             t.bad + h.bad, h.good) = 1
                            then b.at + priority_offset(t.priority) else t.rank end
      from book b cross join hits h
     where t.tenant_id = ($1::uuid[])[h.slot] and t.session_id = ($2::uuid[])[h.slot]
       and t.seq = h.seq
       and ((h.dep > 0 and counts_needs(t.state, t.was))
            or (h.kid > 0 and counts_children(t.state, t.reason, t.was, t.was_reason)))
    returning h.slot, t.seq, t.node, t.attempt, t.failures, t.crashes, t.state, t.undecided
), tally as (
    select r.slot, max(r.upto) as made, min(r.started_at) as started_at,
           (count(*) filter (where r.state >= 6 and r.parent is null))::int as roots,
           (count(*) filter (where r.state = 6 and r.flags & 1 <> 0))::int as completed,
           (count(*) filter (where r.state = 7 and r.flags & 1 <> 0))::int as failed,
           (count(*) filter (where r.state = 8 and r.flags & 1 <> 0))::int as cancelled,
           (count(*) filter (where r.state = 9 and r.flags & 1 <> 0))::int as skipped,
           (count(*) filter (where (r.state = 7 and r.flags & 32 = 0)
                                or (r.state = 8 and r.flags & 256 = 0)))::int as bad,
           (count(*) filter (where (r.state = 7 and r.flags & 32 <> 0)
                                or (r.state = 8 and r.flags & 256 <> 0)))::int as allowed
      from ranked r
     group by r.slot
), counted as (
    update session_progress p
       set open        = p.open - n.roots,
           completed   = p.completed + n.completed,
           failed      = p.failed + n.failed,
           cancelled   = p.cancelled + n.cancelled,
           skipped     = p.skipped + n.skipped,
           bad         = p.bad + n.bad,
           allowed     = p.allowed + n.allowed,
           next_event  = b.base[n.slot] + n.made + (b.ending[n.slot] and p.open = n.roots)::int,
           state       = case when b.ending[n.slot] and p.open = n.roots
                              then case when p.bad + n.bad > 0 then 7
                                        when p.allowed + n.allowed > 0 then 6 else 5 end
                              when p.state = 1 then 2 else p.state end,
           undecided   = p.undecided or (p.state < 5 and p.open = n.roots
                                         and not b.ending[n.slot]),
           sweep       = case when p.sweep = 0 and p.fail_fast and n.bad > 0 then 1 else p.sweep end,
           started_at  = coalesce(p.started_at, least(n.started_at, b.at)),
           timed       = p.timed and not (b.ending[n.slot] and p.open = n.roots),
           deadline_at = case when p.timed and p.started_at is null
                              then b.at + p.timeout_ms * interval '1 millisecond'
                              else p.deadline_at end,
           finished_at = case when b.ending[n.slot] and p.open = n.roots then b.at
                              else p.finished_at end
      from book b cross join tally n
     where p.tenant_id = ($1::uuid[])[n.slot] and p.session_id = ($2::uuid[])[n.slot]
), logged as (
    -- Numbered from the locked row: gap-free, in the transition's own transaction.
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts,
                        ats, bodies, actor)
    select ($1::uuid[])[e.slot], ($2::uuid[])[e.slot], min(e.number), max(e.number), max(e.at),
           array_agg(e.kind order by e.number), array_agg(e.task order by e.number),
           array_agg(e.attempt order by e.number), array_agg(e.at order by e.number),
           case when count(e.body) > 0 then array_agg(e.body::jsonb order by e.number) end, $27
      from (select n.slot, b.base[n.slot] - 1 as number, least(n.started_at, b.at) as at,
                   2::smallint as kind, null::int as task, null::int as attempt, null::text as body
              from tally n cross join book b
             where b.fresh[n.slot]
             union all
            select r.slot, b.base[r.slot] + r.upto - 1 - (r.event >= 0)::int, r.started_at, 15::smallint,
                   r.seq, r.attempt, null
              from ranked r cross join book b
             where r.unnoted
             union all
            select r.slot, b.base[r.slot] + r.upto - 1, b.at, r.event, r.seq,
                   r.told, r.body
              from ranked r cross join book b
             where r.event >= 0
             union all
            select n.slot, b.base[n.slot] + n.made, b.at,
                   (case when b.bad[n.slot] + n.bad > 0 then 7
                         when b.allowed[n.slot] + n.allowed > 0 then 6 else 5 end)::smallint,
                   null, null, null
              from tally n cross join book b
             where b.ending[n.slot] and b.open[n.slot] = n.roots) e
     group by e.slot
), receipt as (
    -- One receipt covers all that is handed over of a session, so a chain writes it once.
    insert into receipts (worker_id, at, tenants, sessions)
    select $21::uuid, clock(), array_agg(($1::uuid[])[f.slot]), array_agg(($2::uuid[])[f.slot])
      from (select distinct slot from freed where state = 3) f
     where not ($26::bool[])[f.slot]
    having count(*) > 0
    returning id
), unmoved as materialized (
    -- The newest rows, whatever the snapshot: what is said here may have been recorded while this
    -- statement waited.
    select i.ord::int as ord, i.attempt, i.outcome, t.last_attempt, t.last_worker, t.last_outcome
      from input i
      join tasks t on t.tenant_id = i.tenant_id and t.session_id = i.session_id and t.seq = i.seq
     where i.outcome > 0 and (select count(*) from done) < cardinality($5::int[])
       for no key update of t
), again as (
    -- A finish that was recorded before, and is said again because its answer was lost.
    select ord from unmoved
     where last_attempt = attempt and last_worker = $21 and last_outcome = outcome
)
select (select leased from book)                                            as "leased!",
       (select coalesce(array_agg(ord), '{}') from done)                    as "accepted!",
       (select coalesce(array_agg(ord), '{}') from again)                   as "again!",
       (select count(*)::int from freed where state = 1)                    as "ready!",
       (select count(*)::int from freed where undecided)                    as "undecided!",
       (select coalesce(array_agg(n.slot), '{}') from tally n cross join book b
         where b.open[n.slot] = n.roots and not b.ending[n.slot])           as "closing!",
       (select coalesce(array_agg(ord), '{}') from done
         where state >= 6 and flags & 2048 <> 0)                            as "unlocked!",
       (select id from receipt)                                             as "receipt?",
       h.slots as "slots!", h.seqs as "seqs!", h.nodes as "nodes!", h.attempts as "attempts!",
       h.failures as "failures!", h.crashes as "crashes!"
  from (select coalesce(array_agg(slot), '{}') as slots, coalesce(array_agg(seq), '{}') as seqs,
               coalesce(array_agg(node), '{}') as nodes,
               coalesce(array_agg(attempt), '{}') as attempts,
               coalesce(array_agg(failures), '{}') as failures,
               coalesce(array_agg(crashes), '{}') as crashes
          from freed where state = 3) h
