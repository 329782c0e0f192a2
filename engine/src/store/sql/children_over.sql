-- Child sessions that have ended, and what their tasks need to know of them. $1 the reason for waiting
select c.tenant_id, c.parent_id, c.parent_seq, c.attempt, c.child_id,
       ch.state, ch.error, s.outputs, t.node, t.failures,
       (t.state = 4 and t.reason = $1 and t.attempt = c.attempt and not t.delayed) as "waits!",
       (select f.error
          from tasks f
         where f.tenant_id = c.tenant_id and f.session_id = c.child_id
           and f.state = 7 and f.flags & 1 <> 0
         order by f.finished_at, f.seq
         limit 1) as failed
  from child_sessions c
 cross join lateral (
       select p.state, p.error
         from session_progress p
        where p.tenant_id = c.tenant_id and p.session_id = c.child_id
        limit 1) ch
 cross join lateral (
       select s.outputs
         from sessions s
        where s.tenant_id = c.tenant_id and s.id = c.child_id
        limit 1) s
 cross join lateral (
       select t.state, t.reason, t.attempt, t.delayed, t.node, t.failures
         from tasks t
        where t.tenant_id = c.tenant_id and t.session_id = c.parent_id and t.seq = c.parent_seq
        limit 1) t
 where not c.over and ch.state >= 5
 order by c.tenant_id, c.child_id
 limit 100
