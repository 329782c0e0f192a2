-- Schedules with something due, and those whose line may move on, with the version that each would
-- start now.
select k.tenant_id as "tenant_id!", k.id as "id!",
       (select v.id
          from workflow_versions v
         where v.tenant_id = k.tenant_id and v.name = k.workflow
           and v.version >= (select w.applied from workflows w
                              where w.tenant_id = k.tenant_id and w.name = k.workflow)
         order by v.version
         limit 1) as "version_id?"
  from ((select tenant_id, id, workflow
           from schedules
          where due_at <= (select clock())
          order by due_at
          limit $1)
          union
        (select tenant_id, id, workflow
           from schedules
          where queued > 0 and open = 0 and paused_at is null and removed_at is null
          order by tenant_id, id
          limit $1)) k
