-- Child sessions that go on although nobody waits for them. $1 the reason for waiting,
-- $2 that of tasks whose session was ended by hand, $3 the state of stopped sessions
select c.tenant_id, c.parent_id, c.child_id, p.state, p.result,
       coalesce(t.finished_at < p.finished_at, t.finished_at is not null) as "task_first!",
       coalesce(t.reason = $2, false) as "by_hand!"
  from child_sessions c
 cross join lateral (
       select p.state, p.result
         from session_progress p
        where p.tenant_id = c.tenant_id and p.session_id = c.child_id
        limit 1) ch
 cross join lateral (
       select p.state, p.result, p.finished_at
         from session_progress p
        where p.tenant_id = c.tenant_id and p.session_id = c.parent_id
        limit 1) p
 cross join lateral (
       select t.state, t.reason, t.attempt, t.finished_at
         from tasks t
        where t.tenant_id = c.tenant_id and t.session_id = c.parent_id and t.seq = c.parent_seq
        limit 1) t
 where not c.over and ch.state < 5
   and (p.state >= 5 or t.state <> 4 or t.reason is distinct from $1 or t.attempt <> c.attempt)
   -- It is being stopped with its parent already.
   and (ch.result is distinct from $3 or $3 not in (p.state, coalesce(p.result, p.state)))
 order by c.tenant_id, c.child_id
 limit 100
