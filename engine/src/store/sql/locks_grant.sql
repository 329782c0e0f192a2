-- Gives locks to tasks that are first in all their lines. The limits are locked by this transaction.
-- Nothing is waited for here: a row that somebody holds is left to the control loop.
-- $1 tenants, $2 names of the limits, $3 the reason of rows that wait for locks
with open as materialized (
    select l.tenant_id, l.name, greatest(l.capacity - l.held, 0) as room, l.due
      from unnest($1::uuid[], $2::text[]) as k (tenant_id, name)
     cross join lateral (
           select l.tenant_id, l.name, l.capacity, l.held, l.due from limits l
            where l.tenant_id = k.tenant_id and l.kind = 0 and l.name = k.name
            limit 1) l
), firsts as materialized (
    select o.tenant_id, o.name, o.room, w.session_id, w.seq, w.total, w.starts
      from open o
     cross join lateral (
           select w.session_id, w.seq, w.total, w.starts from tickets w
            where w.tenant_id = o.tenant_id and w.kind = 0 and w.name = o.name
              and not w.held and not w.parked
            order by w.rank, w.number
            limit least(o.room, 64)) w
), candidates as materialized (
    -- Its place is the same in every line: whoever is granted before it makes it advance by as much
    -- as room is lost.
    select f.tenant_id, f.session_id, f.seq, bool_or(f.starts) as starts,
           count(*) = max(f.total) as is_next
      from firsts f
     group by f.tenant_id, f.session_id, f.seq
), granted as materialized (
    select c.tenant_id, c.session_id, c.seq, c.starts
      from candidates c
     cross join lateral (
           select from tasks t
            where t.tenant_id = c.tenant_id and t.session_id = c.session_id and t.seq = c.seq
              and t.state = 4 and t.reason = $3 and not t.undecided
              for no key update skip locked) t
     where c.is_next
), held as (
    update tickets t
       set held = true, held_since = clock()
      from granted g
     where t.tenant_id = g.tenant_id and t.session_id = g.session_id and t.seq = g.seq
       and t.kind = 0
    returning t.tenant_id, t.name
), left_over as materialized (
    -- Next, but somebody holds its row; or nobody knows, because one of its limits is not locked.
    select c.tenant_id, c.session_id, c.seq
      from candidates c
     where case when c.is_next
                then not exists (select from granted g
                                  where g.tenant_id = c.tenant_id
                                    and g.session_id = c.session_id and g.seq = c.seq)
                else exists (select from tickets x
                              where x.tenant_id = c.tenant_id and x.session_id = c.session_id
                                and x.seq = c.seq and x.kind = 0
                                and not exists (select from open o
                                                 where o.tenant_id = x.tenant_id
                                                   and o.name = x.name)) end
), outcome as materialized (
    select o.tenant_id, o.name, o.due as was_due,
           (select count(*)::int from held h
             where h.tenant_id = o.tenant_id and h.name = o.name) as taken,
           exists (select from firsts f
                     join left_over x on x.tenant_id = f.tenant_id
                                     and x.session_id = f.session_id and x.seq = f.seq
                    where f.tenant_id = o.tenant_id and f.name = o.name)
           or (o.room > 64 and (select count(*) from firsts f
                                 where f.tenant_id = o.tenant_id
                                   and f.name = o.name) = 64) as due
      from open o
), counted as (
    update limits l
       set held = l.held + n.taken, due = n.due
      from outcome n
     where l.tenant_id = n.tenant_id and l.kind = 0 and l.name = n.name
       and (n.taken > 0 or n.was_due <> n.due)
    returning l.due
), moved as (
    update tasks t
       set state = case when g.starts then 1 else 4 end, queued = g.starts,
           undecided = not g.starts, delayed = t.delayed and not g.starts,
           reason = case when not g.starts then t.reason end,
           ready_at = case when g.starts then clock() else t.ready_at end,
           rank = case when g.starts then clock() + priority_offset(t.priority) else t.rank end
      from granted g
     where t.tenant_id = g.tenant_id and t.session_id = g.session_id and t.seq = g.seq
    returning t.queued
)
select (select count(*) from moved where queued)::int     as "ready!",
       (select count(*) from moved where not queued)::int as "undecided!",
       (select coalesce(bool_or(due), false) from counted) as "due!"
