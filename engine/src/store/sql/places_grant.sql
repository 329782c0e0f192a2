-- Gives places to the sessions that are next. The limits are locked by this transaction. Nothing is
-- waited for here: a session that somebody holds is left to the control loop.
-- $1 tenants, $2 names of the limits
with open as materialized (
    select l.tenant_id, l.name, greatest(l.capacity - l.held, 0) as room, l.due
      from unnest($1::uuid[], $2::text[]) as k (tenant_id, name)
     cross join lateral (
           select l.tenant_id, l.name, l.capacity, l.held, l.due from limits l
            where l.tenant_id = k.tenant_id and l.kind = 1 and l.name = k.name
            limit 1) l
), firsts as materialized (
    select o.tenant_id, o.name, w.session_id
      from open o
     cross join lateral (
           select w.session_id from tickets w
            where w.tenant_id = o.tenant_id and w.kind = 1 and w.name = o.name
              and not w.held and not w.parked
            order by w.rank, w.number
            limit least(o.room, 64)) w
), granted as materialized (
    select f.tenant_id, f.name, f.session_id
      from firsts f
     cross join lateral (
           select from session_progress p
            where p.tenant_id = f.tenant_id and p.session_id = f.session_id
              and p.state in (1, 2, 4) and p.sweep = -1
              for no key update skip locked) p
), held as (
    update tickets t
       set held = true, held_since = clock()
      from granted g
     where t.tenant_id = g.tenant_id and t.session_id = g.session_id and t.seq = 0
       and t.kind = 1
), outcome as materialized (
    select o.tenant_id, o.name, o.due as was_due,
           (select count(*)::int from granted g
             where g.tenant_id = o.tenant_id and g.name = o.name) as taken,
           (select count(*) from firsts f
             where f.tenant_id = o.tenant_id and f.name = o.name)
           > (select count(*) from granted g
               where g.tenant_id = o.tenant_id and g.name = o.name)
           or (o.room > 64 and (select count(*) from firsts f
                                 where f.tenant_id = o.tenant_id
                                   and f.name = o.name) = 64) as due
      from open o
), counted as (
    update limits l
       set held = l.held + n.taken, due = n.due
      from outcome n
     where l.tenant_id = n.tenant_id and l.kind = 1 and l.name = n.name
       and (n.taken > 0 or n.was_due <> n.due)
)
select tenant_id, session_id from granted
