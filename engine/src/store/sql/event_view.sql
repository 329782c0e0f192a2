-- Events of a session in order. $1 tenant, $2 session, $3 after this number, $4 events at most.
-- Numbers have no gaps, so the page is known before it is read: of a row with thousands of events
-- only its part of the page is unpacked.
select (e.first_seq + cut.first + u.nth - 2)::int as "seq!",
       u.at as "at!", u.kind as "kind!", u.task, u.attempt, e.actor, u.body
  from events e
 cross join lateral (
       select greatest($3::int + 2 - e.first_seq, 1) as first,
              ($3::bigint + $4::bigint + 1 - e.first_seq)::int as last) cut
 cross join lateral unnest(e.kinds[cut.first:cut.last], e.tasks[cut.first:cut.last],
                           e.attempts[cut.first:cut.last], e.ats[cut.first:cut.last],
                           e.bodies[cut.first:cut.last])
            with ordinality as u (kind, task, attempt, at, body, nth)
 where e.tenant_id = $1 and e.session_id = $2
   and e.first_seq >= coalesce((select max(p.first_seq)
                                  from events p
                                 where p.tenant_id = $1 and p.session_id = $2
                                   and p.first_seq <= $3 + 1), 0)
   and e.first_seq <= $3::bigint + $4::bigint
 order by e.first_seq, u.nth
 limit $4
