-- Sleeps that are over and groups that ran out of time.
select t.tenant_id, t.session_id, t.seq, t.attempt, t.reason as "reason!"
  from tasks t
  join session_progress p on p.tenant_id = t.tenant_id and p.session_id = t.session_id
 where t.delayed and t.wake_at <= (select clock()) and t.reason in (0, 1)
   and p.state in (1, 2, 3, 4) and p.sweep = 0
 order by t.wake_at
 limit 500
