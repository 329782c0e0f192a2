-- Seconds until the next delayed row, deadline or fire is due; null when there is none. Only what the
-- other statements take when it is due: looking for anything else would never end.
select extract(epoch from least(
           (select t.wake_at
              from tasks t
             cross join lateral (
                   select p.state, p.sweep
                     from session_progress p
                    where p.tenant_id = t.tenant_id and p.session_id = t.session_id
                    limit 1) p
             where t.delayed
               and (t.reason in (2, 19) or (t.reason in (0, 1, 9, 10, 17) and p.state in (1, 2, 3, 4) and p.sweep = 0)
                    or (t.reason = 11 and p.state in (1, 2, 4) and p.sweep = 0))
             order by t.wake_at
             limit 1),
           (select p.deadline_at from session_progress p
             where p.timed and p.deadline_at is not null and p.state in (1, 2, 3, 4)
             order by p.deadline_at
             limit 1),
           (select clock() + interval '20 milliseconds' from limits l where l.due limit 1),
           (select s.due_at from schedules s
             where s.due_at is not null
             order by s.due_at
             limit 1)
       ) - clock())::float8 as "secs"
