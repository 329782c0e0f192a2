-- Events of a session in order. $1 tenant, $2 session, $3 after this number, $4 events at most
select (e.first_seq + u.nth - 1)::int as "seq!",
       u.at as "at!", u.kind as "kind!", u.task, u.attempt, e.actor, u.body
  from events e
 cross join lateral unnest(e.kinds, e.tasks, e.attempts, e.ats, e.bodies)
            with ordinality as u (kind, task, attempt, at, body, nth)
 where e.tenant_id = $1 and e.session_id = $2
   and e.first_seq >= coalesce((select max(p.first_seq)
                                  from events p
                                 where p.tenant_id = $1 and p.session_id = $2
                                   and p.first_seq <= $3 + 1), 0)
   and e.first_seq + u.nth - 1 > $3
 order by e.first_seq, u.nth
 limit $4
