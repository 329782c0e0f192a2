-- Moves many tasks of many sessions at once, releases what waited for them, hands some of that to
-- the worker, counts, and logs: one statement, one transaction, however the move came about (a
-- finish, a decision of the control loop, a dead worker, a sweep).
--
-- $1 tenants uuid[], $2 sessions uuid[]: the distinct sessions, in that order; $3 retry int[] (-1: any)
-- per row: $4 slot int[] (position of its session, from 1), $5 seq int[], $6 from smallint[],
--   $7 attempt int[], $8 to smallint[], $9 reason smallint[] (-1 none), $10 output text[],
--   $11 output_blob bytea[], $12 error text[], $13 delay_ms bigint[] (-1 none),
--   $14 started_us bigint[] (how long ago the attempt started; -1: not said),
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
-- $32 the reason of rows that wait for budgets: those of which an attempt has ended (flag 4096) put
--   something aside again before the next one
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
    -- would become a quadratic nested loop. The rows come in the order of the slots. clock() is
    -- read after the locks.
    select count(*) as n, clock() as at,
           array_agg(next_event + (state = 1)::int)              as base,
           array_agg(state = 1)                                  as fresh,
           array_agg(alive)                                      as alive,
           array_agg(state in (1, 2, 4) and sweep = 0)           as admitted,
           array_agg(state = 3)                                  as paused,
           array_agg(state in (1, 2, 4) and not closing)         as ending,
           array_agg(open)                                       as open,
           array_agg(bad)                                        as bad,
           array_agg(allowed)                                    as allowed,
           not $22 or exists (select from workers w
                               where w.id = $21 and w.ended_at is null
                                 and w.lease_until > clock())    as leased
      from locked
), done as (
    -- The fence. What it does not hold for changes nothing and is answered as lost.
    update tasks t
       set state        = case when i.to_state <> 1 then i.to_state
                               when i.outcome > 0 and t.flags & 4096 <> 0 then 4
                               when b.paused[i.slot] then 5 else 1 end,
           reason       = case when i.to_state <> 1 then nullif(i.reason, -1)
                               when i.outcome > 0 and t.flags & 4096 <> 0 then $32::smallint
                               when b.paused[i.slot] then $28::smallint
                               else nullif(i.reason, -1) end,
           queued       = i.to_state = 1 and not b.paused[i.slot]
                          and (i.outcome = 0 or t.flags & 4096 = 0),
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
           started_at   = case when i.started_us >= 0 and t.noted < t.attempt
                               then b.at - i.started_us * interval '1 microsecond'
                               when i.to_state = 4 and i.reason = $29::smallint then t.started_at
                               when i.from_state = 0 and i.to_state = 4 then b.at
                               when i.from_state = 4 and i.to_state = 4
                               then coalesce(t.started_at, b.at)
                               else t.started_at end,
           finished_at  = case when i.to_state >= 6 then b.at end,
           last_attempt = case when i.outcome > 0 then t.attempt else t.last_attempt end,
           last_worker  = case when i.outcome > 0 then t.worker else t.last_worker end,
           last_outcome = case when i.outcome > 0 then i.outcome else t.last_outcome end
      from book b
     cross join unnest($4::int[], $5::int[], $6::smallint[], $7::int[], $8::smallint[],
                       $9::smallint[], $10::text[], $11::bytea[], $12::text[], $13::bigint[],
                       $14::bigint[], $15::smallint[], $16::int[], $17::text[], $18::smallint[],
                       $19::text[], $20::bool[], $30::smallint[], $31::int[])
           with ordinality as i (slot, seq, from_state, attempt, to_state, reason, output,
                                 output_blob, error, delay_ms, started_us, outcome, children,
                                 opened, event, body, quiet, from_reason, bad, ord)
     where b.leased and b.n = cardinality($2::uuid[]) and b.alive[i.slot]
       and t.tenant_id = ($1::uuid[])[i.slot] and t.session_id = ($2::uuid[])[i.slot]
       and t.seq = i.seq
       and t.state = i.from_state and t.attempt = i.attempt
       and (i.from_reason < 0 or t.reason = i.from_reason)
       and (i.from_state <> 3 or $21::uuid is null or t.worker = $21)
    returning i.slot, t.seq, t.attempt, t.state, t.reason, t.flags, t.parent, t.dependents,
              t.started_at, i.outcome, i.ord::int as ord, i.event, i.body, i.opened, i.quiet,
              i.started_us >= 0 and t.noted < t.attempt as unnoted,
              -- What did not begin again after a retry has nothing to do with its earlier attempts.
              case when i.from_state > 1 then nullif(t.attempt, 0) end as told_attempt,
              b.at, b.base[i.slot] as base, b.fresh[i.slot] as fresh, b.ending[i.slot] as ending,
              b.open[i.slot] as open, b.bad[i.slot] as bad, b.allowed[i.slot] as allowed
), hits as (
    -- What waited for these tasks: dependents, the enclosing group or item (it comes last), and the
    -- first tasks of a group that started. Siblings are never counted.
    select u.slot, u.seq, (count(*) filter (where not u.is_kid))::int as dep,
           count(*) filter (where not u.is_kid and u.good)           as good,
           (count(*) filter (where not u.is_kid and u.bad))::int     as bad,
           (count(*) filter (where u.is_kid))::int                   as kid,
           (count(*) filter (where u.is_kid and u.failed))::int      as kid_bad,
           row_number() over (partition by bool_and(u.is_kid) order by u.slot, u.seq) as place
      from (select d.slot, w.seq,
                   d.state >= 6 and w.n > coalesce(cardinality(d.dependents), 0) as is_kid,
                   d.state in (4, 6) or (d.state = 7 and d.flags & 16 <> 0)      as good,
                   (d.state = 7 and d.flags & 16 = 0) or d.state = 8
                     or (d.state = 9 and d.reason = 4)                           as bad,
                   (d.state = 7 and d.flags & 16 = 0) or d.state = 8             as failed
              from done d
             cross join lateral unnest(case when d.state < 6 then d.opened::int[]
                                            when not d.quiet then d.dependents || d.parent end)
                   with ordinality as w (seq, n)
             where w.seq is not null) u
     group by u.slot, u.seq
), freed as (
    update tasks t
       -- What is due is computed once a row: `offset 0` keeps the planner from copying it into
       -- every column.
       set (blockers, bad, undecided, was, state, queued, reason, attempt, worker, ready_at,
            rank) = (
           select x.blockers, x.bad, t.undecided or x.due = 2,
                  -- What somebody paused goes on from where it would stand by then.
                  case when t.state = 5 and t.was = 0
                       then disposition(0::smallint, false, t.flags, x.blockers, x.bad, h.good)
                       else t.was end,
                  case when x.due <> 1 then t.state when x.paused then 5 when x.taken then 3
                       else 1 end,
                  x.due = 1 and not x.paused and not x.taken,
                  case when x.due = 1 and x.paused then $28::smallint else t.reason end,
                  t.attempt + (x.due = 1 and x.taken)::int,
                  case when x.due = 1 and x.taken then $21::uuid else t.worker end,
                  case when x.due = 1 then b.at else t.ready_at end,
                  case when x.due = 1 then b.at + priority_offset(t.priority) else t.rank end
             from (select n.blockers, n.bad, b.paused[h.slot] as paused,
                          h.place <= $25::int and b.admitted[h.slot]
                              and t.route = any($24::int[])
                              -- Looked up once, and only when something could be handed over.
                              and coalesce((select w.drained_at is null from workers w
                                             where w.id = $21), false) as taken,
                          disposition(t.state, t.undecided, t.flags, n.blockers, n.bad, h.good)
                              as due
                     from (select t.blockers - case when counts_needs(t.state, t.was) then h.dep
                                                    else h.kid end as blockers,
                                  t.bad + case when counts_needs(t.state, t.was) then h.bad
                                               else h.kid_bad end as bad offset 0) n
                   offset 0) x)
      from book b cross join hits h
     where t.tenant_id = ($1::uuid[])[h.slot] and t.session_id = ($2::uuid[])[h.slot]
       and t.seq = h.seq
       and ((h.dep > 0 and counts_needs(t.state, t.was))
            or (h.kid > 0 and counts_children(t.state, t.reason, t.was, t.was_reason)))
    returning h.slot, t.seq, t.node, t.attempt, t.failures, t.crashes, t.state, t.undecided
), tally as (
    -- Of each session: the counts, and its events in the order of the moves, where the start of an
    -- attempt comes before what became of it.
    select n.*, n.open = n.roots and n.ending as ended, n.open = n.roots and not n.ending as closing
      from (select e.slot, min(e.at) as at, min(e.started_at) as started_at, min(e.base) as base,
                   bool_and(e.fresh) as fresh, bool_and(e.ending) as ending, min(e.open) as open,
                   min(e.bad) as bad_before, min(e.allowed) as allowed_before,
                   (count(*) filter (where e.nth = 1 and e.state >= 6 and e.parent is null))::int
                       as roots,
                   (count(*) filter (where e.counts and e.state = 6))::int as completed,
                   (count(*) filter (where e.counts and e.state = 7))::int as failed,
                   (count(*) filter (where e.counts and e.state = 8))::int as cancelled,
                   (count(*) filter (where e.counts and e.state = 9))::int as skipped,
                   (count(*) filter (where e.nth = 1
                                       and ((e.state = 7 and e.flags & 32 = 0)
                                         or (e.state = 8 and e.flags & 256 = 0))))::int as bad,
                   (count(*) filter (where e.nth = 1
                                       and ((e.state = 7 and e.flags & 32 <> 0)
                                         or (e.state = 8 and e.flags & 256 <> 0))))::int as allowed,
                   (count(*) filter (where e.told))::int as made,
                   count(e.body) > 0 as has_bodies,
                   coalesce(array_agg(e.kind) filter (where e.told), '{}') as kinds,
                   coalesce(array_agg(e.seq) filter (where e.told), '{}') as tasks,
                   coalesce(array_agg(e.try) filter (where e.told), '{}') as attempts,
                   coalesce(array_agg(e.moment) filter (where e.told), '{}') as ats,
                   coalesce(array_agg(e.body) filter (where e.told), '{}') as bodies
              from (select d.slot, d.seq, d.state, d.flags, d.parent, d.at, d.started_at, d.base,
                           d.fresh, d.ending, d.open, d.bad, d.allowed, k.nth,
                           k.nth = 1 and d.flags & 1 <> 0 as counts,
                           case k.nth when 0 then d.unnoted else d.event >= 0 end as told,
                           case k.nth when 0 then 15::smallint else d.event end as kind,
                           case k.nth when 0 then d.attempt else d.told_attempt end as try,
                           case k.nth when 0 then d.started_at else d.at end as moment,
                           case when k.nth = 1 and d.event >= 0 then d.body::jsonb end as body
                      from done d cross join generate_series(0, 1) as k (nth)
                     order by d.slot, d.ord, k.nth) e
             group by e.slot) n
), counted as (
    update session_progress p
       set open        = p.open - n.roots,
           completed   = p.completed + n.completed,
           failed      = p.failed + n.failed,
           cancelled   = p.cancelled + n.cancelled,
           skipped     = p.skipped + n.skipped,
           bad         = p.bad + n.bad,
           allowed     = p.allowed + n.allowed,
           next_event  = n.base + n.made + n.ended::int,
           state       = case when n.ended
                              then case when p.bad + n.bad > 0 then 7
                                        when p.allowed + n.allowed > 0 then 6 else 5 end
                              when p.state = 1 then 2 else p.state end,
           undecided   = p.undecided or (p.state < 5 and n.closing),
           sweep       = case when p.sweep = 0 and p.fail_fast and n.bad > 0 then 1 else p.sweep end,
           started_at  = coalesce(p.started_at, least(n.started_at, n.at)),
           timed       = p.timed and not (n.ended),
           deadline_at = case when p.timed and p.started_at is null
                              then n.at + p.timeout_ms * interval '1 millisecond'
                              else p.deadline_at end,
           finished_at = case when n.ended then n.at
                              else p.finished_at end
      from tally n
     where p.tenant_id = ($1::uuid[])[n.slot] and p.session_id = ($2::uuid[])[n.slot]
), logged as (
    -- Numbered from the locked row: gap-free, in the transition's own transaction. The session's
    -- own start comes first and its end last.
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts,
                        ats, bodies, actor)
    select ($1::uuid[])[n.slot], ($2::uuid[])[n.slot],
           n.base - n.fresh::int, n.base + n.made + n.ended::int - 1, n.at,
           array_fill(2::smallint, array[n.fresh::int]) || n.kinds
               || array_fill((case when n.bad_before + n.bad > 0 then 7
                                   when n.allowed_before + n.allowed > 0 then 6
                                   else 5 end)::smallint, array[n.ended::int]),
           array_fill(null::int, array[n.fresh::int]) || n.tasks
               || array_fill(null::int, array[n.ended::int]),
           array_fill(null::int, array[n.fresh::int]) || n.attempts
               || array_fill(null::int, array[n.ended::int]),
           array_fill(least(n.started_at, n.at), array[n.fresh::int]) || n.ats
               || array_fill(n.at, array[n.ended::int]),
           case when n.has_bodies
                then array_fill(null::jsonb, array[n.fresh::int]) || n.bodies
                         || array_fill(null::jsonb, array[n.ended::int]) end,
           $27
      from tally n
     where n.fresh or n.made > 0 or n.ended
), receipt as (
    -- One receipt covers all that is handed over of a session, so a chain writes it once.
    insert into receipts (worker_id, at, tenants, sessions)
    select $21::uuid, clock(), array_agg(($1::uuid[])[f.slot]), array_agg(($2::uuid[])[f.slot])
      from (select distinct slot from freed where state = 3 and not ($26::bool[])[slot]) f
    having count(*) > 0
    returning id
)
select b.leased as "leased!", d.accepted as "accepted!", d.unlocked as "unlocked!", d.spent as "spent!",
       f.ready as "ready!", f.undecided as "undecided!", n.closing as "closing!",
       (select id from receipt) as "receipt?",
       f.slots as "slots!", f.seqs as "seqs!", f.nodes as "nodes!", f.attempts as "attempts!",
       f.failures as "failures!", f.crashes as "crashes!"
  from book b
 cross join (select coalesce(array_agg(ord), '{}') as accepted,
                    coalesce(array_agg(ord) filter (where state >= 6 and flags & 2048 <> 0), '{}')
                        as unlocked,
                    coalesce(array_agg(ord) filter (where flags & 4096 <> 0
                                                      and (state >= 6 or outcome > 0)), '{}')
                        as spent
               from done) d
 cross join (select coalesce(array_agg(slot) filter (where closing), '{}')
                        as closing
               from tally) n
 cross join (select (count(*) filter (where state = 1))::int as ready,
                    (count(*) filter (where undecided))::int as undecided,
                    coalesce(array_agg(slot) filter (where state = 3), '{}') as slots,
                    coalesce(array_agg(seq) filter (where state = 3), '{}') as seqs,
                    coalesce(array_agg(node) filter (where state = 3), '{}') as nodes,
                    coalesce(array_agg(attempt) filter (where state = 3), '{}') as attempts,
                    coalesce(array_agg(failures) filter (where state = 3), '{}') as failures,
                    coalesce(array_agg(crashes) filter (where state = 3), '{}') as crashes
               from freed) f
