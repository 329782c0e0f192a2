-- Tasks that wait for what Jobshop itself tells them. $1 the reason for waiting
select w.tenant_id, w.session_id, w.seq, w.name, t.attempt
  from signal_waits w
 cross join lateral (
       select t.attempt, t.state, t.reason
         from tasks t
        where t.tenant_id = w.tenant_id and t.session_id = w.session_id and t.seq = w.seq
        limit 1) t
 cross join lateral (
       select p.state, p.sweep
         from session_progress p
        where p.tenant_id = w.tenant_id and p.session_id = w.session_id
        limit 1) p
 where w.name like 'jobshop/%' and t.state = 4 and t.reason = $1
   and p.state in (1, 2, 4) and p.sweep = 0
 limit 1000
