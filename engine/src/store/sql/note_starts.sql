-- Makes attempts that run longer visible before they end; short ones never pay for it.
-- $1 tenants, $2 sessions: distinct, ordered; $3 slot, $4 seq, $5 attempt, $6 started_us; $7 worker
with locked as materialized (
    select k.slot, p.next_event, p.state
      from unnest($1::uuid[], $2::uuid[]) with ordinality as k (tenant_id, session_id, slot)
      join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
     order by k.slot
       for no key update of p
), book as materialized (
    select count(*) as n, clock() as at,
           array_agg(next_event + (state = 1)::int order by slot) as base,
           array_agg(state = 1 order by slot)                     as fresh,
           array_agg(state < 5 order by slot)                     as alive
      from locked
), input as materialized (
    select i.*, ($1::uuid[])[i.slot] as tenant_id, ($2::uuid[])[i.slot] as session_id
      from unnest($3::int[], $4::int[], $5::int[], $6::bigint[])
           with ordinality as i (slot, seq, attempt, started_us, ord)
), marked as (
    update tasks t
       set noted = t.attempt, started_at = b.at - i.started_us * interval '1 microsecond'
      from book b cross join input i
     where b.n = cardinality($2::uuid[]) and b.alive[i.slot]
       and t.tenant_id = i.tenant_id and t.session_id = i.session_id and t.seq = i.seq
       and t.state = 3 and t.attempt = i.attempt and t.worker = $7 and t.noted < t.attempt
    returning i.slot, t.seq, t.attempt, t.started_at, i.ord
), ranked as materialized (
    select m.*, (row_number() over (partition by m.slot order by m.ord))::int as upto from marked m
), tally as (
    select slot, max(upto) as made, min(started_at) as started_at from ranked group by slot
), counted as (
    update session_progress p
       set next_event  = b.base[n.slot] + n.made,
           state       = case when p.state = 1 then 2 else p.state end,
           started_at  = coalesce(p.started_at, n.started_at),
           deadline_at = case when p.timed and p.started_at is null
                              then b.at + p.timeout_ms * interval '1 millisecond'
                              else p.deadline_at end
      from tally n cross join book b
     where p.tenant_id = ($1::uuid[])[n.slot] and p.session_id = ($2::uuid[])[n.slot]
), logged as (
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats)
    select ($1::uuid[])[e.slot], ($2::uuid[])[e.slot], min(e.number), max(e.number), max(e.at),
           array_agg(e.kind order by e.number), array_agg(e.task order by e.number),
           array_agg(e.attempt order by e.number), array_agg(e.at order by e.number)
      from (select n.slot, b.base[n.slot] - 1 as number, n.started_at as at, 2::smallint as kind,
                   null::int as task, null::int as attempt
              from tally n cross join book b
             where b.fresh[n.slot]
             union all
            select r.slot, b.base[r.slot] + r.upto - 1, r.started_at, 15::smallint, r.seq, r.attempt
              from ranked r cross join book b) e
     group by e.slot
)
select array_agg(i.ord::int) as "marked" from marked i
