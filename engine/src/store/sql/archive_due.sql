-- A stretch of all sessions in the order of their keys, and which of them ended long enough ago. A
-- child stays as long as the session whose task it is, a parent until its children's ends are told.
-- $1 tenant, $2 session after which it begins, $3 rows, $4 milliseconds for workflows that do not say
-- how long (null: for ever), $5 milliseconds that every session is kept
select s.tenant_id, s.id, p.next_event, p.retry,
       case
           when p.state < 5 or p.sweep <> 0 or p.open <> 0 then false
           when p.finished_at is null or v.kept_ms is null then false
           when p.finished_at > clock() - greatest(v.kept_ms, $5) * interval '1 millisecond' then false
           -- Limited to one row each is a look-up by key, whatever the planner thinks of the table.
           else (s.parent_id is null
                 or (select 1 from sessions a
                      where a.tenant_id = s.tenant_id and a.id = s.parent_id
                      limit 1) is null)
                and (select 1 from child_sessions c
                      where c.tenant_id = s.tenant_id and c.parent_id = s.id and not c.over
                      limit 1) is null
                and (select 1 from tickets t
                      where t.tenant_id = s.tenant_id and t.session_id = s.id
                      limit 1) is null
                and (select 1 from schedule_fires f
                      where f.tenant_id = s.tenant_id and f.session_id = s.id and f.open
                      limit 1) is null
       end as "is_due!"
  from sessions s
 cross join lateral (
       select p.state, p.sweep, p.open, p.finished_at, p.next_event, p.retry
         from session_progress p
        where p.tenant_id = s.tenant_id and p.session_id = s.id
        limit 1) p
 cross join lateral (
       select coalesce(v.retention_ms, $4::bigint) as kept_ms
         from workflow_versions v
        where v.tenant_id = s.tenant_id and v.id = s.version_id
        limit 1) v
 where (s.tenant_id, s.id) > ($1, $2)
 order by s.tenant_id, s.id
 limit $3
