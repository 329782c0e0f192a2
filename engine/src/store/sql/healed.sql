-- Degraded sessions of which no ready task is in a route that nobody serves.
select p.tenant_id, p.session_id
  from session_progress p
 where p.hold is not null and p.state = 4
   and not exists (select from route_gaps g
                     join tasks t on t.tenant_id = p.tenant_id and t.session_id = p.session_id
                                 and t.queued and t.route = g.route
                    where g.tenant_id = p.tenant_id and p.hold -> 'routes' @> to_jsonb(g.route))
 order by p.tenant_id, p.session_id
 limit 100
