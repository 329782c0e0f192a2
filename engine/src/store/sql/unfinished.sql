-- Groups of which more can be laid down now.
select e.tenant_id, e.session_id, e.seq, e.version_id, e.block_rows, e.items, e.laid,
       e.max_parallel, g.node, e.items - g.blockers as "ended!"
  from expansions e
  join tasks g on g.tenant_id = e.tenant_id and g.session_id = e.session_id
              and g.seq = e.seq
  join session_progress p on p.tenant_id = e.tenant_id and p.session_id = e.session_id
 where e.unfinished and g.state = 4 and g.reason = 0 and p.state in (1, 2, 4)
   and p.sweep = 0
   and (e.max_parallel is null or e.laid - (e.items - g.blockers) < e.max_parallel)
 order by e.tenant_id, e.session_id, e.seq
 limit 200
