-- Locks schedules that still have something due or a line that may move on; those that another
-- process holds are left to it. $1 tenants, $2 ids
select s.tenant_id, s.id, s.rule, s.since, s.next_fire, s.due_at, s.runs, s.failures, s.open,
       s.queued, s.forgotten_to,
       (select v.id
          from workflow_versions v
         where v.tenant_id = s.tenant_id and v.name = s.workflow
           and v.version >= (select w.applied from workflows w
                              where w.tenant_id = s.tenant_id and w.name = s.workflow)
         order by v.version
         limit 1) as "version_id?",
       (select min(f.fire_time)
          from schedule_fires f
         where f.tenant_id = s.tenant_id and f.schedule_id = s.id and f.state = 0) as queued_fire,
       (select f.created_by
          from schedule_fires f
         where f.tenant_id = s.tenant_id and f.schedule_id = s.id and f.state = 0
         order by f.fire_time
         limit 1) as queued_by,
       clock() as "now!"
  from unnest($1::uuid[], $2::text[]) as k (tenant_id, id)
  join schedules s on s.tenant_id = k.tenant_id and s.id = k.id
 where s.due_at <= clock()
    or (s.queued > 0 and s.open = 0 and s.paused_at is null and s.removed_at is null)
 order by s.tenant_id, s.id
   for no key update of s skip locked
