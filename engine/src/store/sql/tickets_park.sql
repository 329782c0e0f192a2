-- Those tickets of a session that wait keep their turn but let others pass while the session, or
-- their task, is paused. Their limits are locked. $1 tenant, $2 session, $3 rows that wait
update tickets t
   set parked = n.parked
  from (select t.seq, t.kind, t.name, p.state = 3 or coalesce(r.state = 5, false) as parked
          from tickets t
          join session_progress p on p.tenant_id = t.tenant_id and p.session_id = t.session_id
          left join tasks r on r.tenant_id = t.tenant_id and r.session_id = t.session_id
                           and r.seq = t.seq
         where t.tenant_id = $1 and t.session_id = $2 and t.seq = any ($3::int[]) and not t.held) n
 where t.tenant_id = $1 and t.session_id = $2 and t.seq = n.seq and t.kind = n.kind
   and t.name = n.name and t.parked <> n.parked
