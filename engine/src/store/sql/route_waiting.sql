-- Sessions that wait in a route, among its next rows; the walk begins anew at its end.
-- $1 tenant, $2 route, $3 rows, $4 for so many seconds at least
with next as materialized (
    select t.session_id, t.rank, t.ready_at
      from tasks t
     where t.queued and t.route = $2
       and t.rank > coalesce((select looked_to from route_gaps where tenant_id = $1 and route = $2),
                             '-infinity')
     order by t.rank
     limit $3
), looked as (
    update route_gaps g
       set looked_to = (select case when count(*) = $3 then max(rank) end from next)
     where g.tenant_id = $1 and g.route = $2
)
select n.session_id
  from (select distinct session_id from next
         where ready_at <= clock() - make_interval(secs => $4)) n
 cross join lateral (
       select from session_progress p
        where p.tenant_id = $1 and p.session_id = n.session_id and p.state in (1, 2)
          and p.sweep = 0
        limit 1) p
 order by n.session_id
