-- Groups of which more can be laid down now. A look-up by key that is limited to one row stays one,
-- whatever the planner thinks of the tables.
select e.tenant_id, e.session_id, e.seq, e.version_id, e.block_rows, e.items, e.laid,
       e.max_parallel, g.node, e.items - g.blockers as "ended!", e.base, s.funded
  from expansions e
 cross join lateral (
       select s.funded from sessions s
        where s.tenant_id = e.tenant_id and s.id = e.session_id
        limit 1) s
 cross join lateral (
       select g.node, g.blockers, g.state, g.reason
         from tasks g
        where g.tenant_id = e.tenant_id and g.session_id = e.session_id and g.seq = e.seq
        limit 1) g
 cross join lateral (
       select p.state, p.sweep
         from session_progress p
        where p.tenant_id = e.tenant_id and p.session_id = e.session_id
        limit 1) p
 where e.unfinished and g.state = 4 and g.reason = 0 and p.state in (1, 2, 4)
   and p.sweep = 0
   and (e.max_parallel is null or e.laid - (e.items - g.blockers) < e.max_parallel)
 order by e.tenant_id, e.session_id, e.seq
 limit 200
