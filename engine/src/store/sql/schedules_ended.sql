-- Notes that sessions of locked schedules have ended; the first that ended comes first. A session
-- that is gone has ended too. $1 tenants, $2 ids
with ended as (
    select f.tenant_id, f.schedule_id, f.fire_time, p.state, p.finished_at
      from unnest($1::uuid[], $2::text[]) as k (tenant_id, id)
      join schedule_fires f on f.tenant_id = k.tenant_id and f.schedule_id = k.id and f.open
      left join session_progress p on p.tenant_id = f.tenant_id and p.session_id = f.session_id
     where p.state is null or p.state >= 5
), closed as (
    update schedule_fires f set open = false
      from ended e
     where f.tenant_id = e.tenant_id and f.schedule_id = e.schedule_id
       and f.fire_time = e.fire_time and f.open
    returning f.tenant_id, f.schedule_id, e.state, e.finished_at
)
select tenant_id, schedule_id, state as "state?"
  from closed
 order by tenant_id, schedule_id, finished_at
