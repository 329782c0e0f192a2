-- Ready tasks that have waited to start for longer than they may. $1 how many
select t.tenant_id, t.session_id, t.seq, t.attempt, l.ms
  from tasks t
 -- The limits keep the planner, without statistics, from reading all of the other tables.
 cross join lateral (
       select p.version_id from session_progress p
        where p.tenant_id = t.tenant_id and p.session_id = t.session_id
          and p.state in (1, 2, 4) and p.sweep = 0
        limit 1) p
 cross join lateral (
       select l.ms from start_limits l
        where l.tenant_id = t.tenant_id and l.version_id = p.version_id and l.node = t.node
        limit 1) l
 where t.queued and t.flags & 8192 <> 0
   and t.ready_at <= (select clock()) - l.ms * interval '1 millisecond'
 order by t.ready_at
 limit $1
