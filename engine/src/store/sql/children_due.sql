-- Tasks of which a session of their own is to begin. $1 the reason for waiting
select t.tenant_id, t.session_id, t.seq, t.node, t.attempt, t.failures, p.retry,
       s.depth, s.priority, s.created_by
  from tasks t
 cross join lateral (
       select p.state, p.sweep, p.retry
         from session_progress p
        where p.tenant_id = t.tenant_id and p.session_id = t.session_id
        limit 1) p
 cross join lateral (
       select s.depth, s.priority, s.created_by
         from sessions s
        where s.tenant_id = t.tenant_id and s.id = t.session_id
        limit 1) s
 where t.delayed and t.wake_at <= (select clock()) and t.reason = $1
   and p.state in (1, 2, 4) and p.sweep = 0
 order by t.wake_at
 limit 100
