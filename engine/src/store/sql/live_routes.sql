-- The routes after $1 that have something ready, at most $2: one look into the index for each.
with recursive live as (
    (select t.route, 1 as n from tasks t
      where t.queued and t.route > $1
      order by t.route
      limit 1)
     union all
    select next.route, l.n + 1
      from live l
     cross join lateral (
           select t.route from tasks t
            where t.queued and t.route > l.route
            order by t.route
            limit 1) next
     where l.n < $2::int
)
select route as "route!" from live
