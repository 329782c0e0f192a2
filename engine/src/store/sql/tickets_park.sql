-- Those tickets of a session that wait keep their turn but let others pass while the session, or
-- their task, is paused. Their limits are locked. $1 tenant, $2 session, $3 rows that wait
update tickets t
   set parked = n.parked
  from (select w.seq, w.kind, w.name, p.state = 3 or coalesce(r.state = 5, false) as parked
          from unnest($3::int[]) as k (seq)
         cross join lateral (
               select w.seq, w.kind, w.name from tickets w
                where w.tenant_id = $1 and w.session_id = $2 and w.seq = k.seq and not w.held
                limit 100) w
          join session_progress p on p.tenant_id = $1 and p.session_id = $2
          left join tasks r on r.tenant_id = $1 and r.session_id = $2 and r.seq = w.seq) n
 where t.tenant_id = $1 and t.session_id = $2 and t.seq = n.seq and t.kind = n.kind
   and t.name = n.name and t.parked <> n.parked
