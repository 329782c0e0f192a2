-- Sleeps that are over, and what ran out of time: groups, approvals, waits for signals and locks.
select t.tenant_id, t.session_id, t.seq, t.attempt, t.flags, t.reason as "reason!"
  from tasks t
 cross join lateral (
       select p.state, p.sweep
         from session_progress p
        where p.tenant_id = t.tenant_id and p.session_id = t.session_id
        limit 1) p
 where t.delayed and t.wake_at <= (select clock()) and t.reason in (0, 1, 9, 10, 17)
   and p.state in (1, 2, 3, 4) and p.sweep = 0
 order by t.wake_at
 limit 500
