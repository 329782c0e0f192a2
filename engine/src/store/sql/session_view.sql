select s.id, s.title, s.type as kind, s.priority, s.prompt, s.description, s.tags, s.metadata,
       coalesce(p.inputs, s.inputs) as "inputs!", s.outputs, s.created_by, s.parent_id,
       s.forked_from, s.forked_at, s.created_at, s.schedule_id,
       v.name, v.version,
       p.state, p.sweep, p.hold, p.phase, p.retry, p.bad,
       p.error as "error: sqlx::types::Json<Failure>",
       p.started_at, p.finished_at, p.timeout_ms, clock() as "now!",
       p.total, p.completed, p.failed, p.cancelled, p.skipped,
       (p.total <= $3 or p.total = p.completed + p.failed + p.cancelled + p.skipped) as "is_counted!",
       live.ready as "ready!",
       live.assigned as "assigned!",
       live.in_progress as "in_progress!",
       live.blocked as "blocked!",
       live.paused as "paused!"
  from unnest($2::uuid[]) as k (id)
  -- Limited to one row it is a look-up by key, whatever the planner thinks of the table.
 cross join lateral (
           select *
             from sessions
            where tenant_id = $1 and id = k.id
            limit 1
       ) s
  join session_progress p on p.tenant_id = s.tenant_id and p.session_id = s.id
 cross join lateral (
           select v.name, v.version
             from workflow_versions v
            where v.tenant_id = s.tenant_id and v.id = s.version_id
            limit 1
       ) v
 cross join lateral (
           select count(*) filter (where t.state = 1) as ready,
                  count(*) filter (where t.state = 2) as assigned,
                  count(*) filter (where t.state = 3) as in_progress,
                  count(*) filter (where t.state = 4) as blocked,
                  count(*) filter (where t.state = 5) as paused
             from tasks t
            where t.tenant_id = p.tenant_id and t.session_id = p.session_id
              and t.state between 1 and 5 and t.flags & $4 <> 0
              and p.total <= $3
              and p.total > p.completed + p.failed + p.cancelled + p.skipped
       ) live
 order by s.id desc
