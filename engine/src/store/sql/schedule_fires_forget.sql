-- Removes fires of locked schedules that are as they were seen, and notes up to when fires are
-- forgotten. One whose session was retried meanwhile is open again and stays. $1 tenants,
-- $2 schedules, $3 times
with gone as (
    delete from schedule_fires f
     using unnest($1::uuid[], $2::text[], $3::timestamptz[]) as k (tenant_id, id, fire_time)
     where f.tenant_id = k.tenant_id and f.schedule_id = k.id and f.fire_time = k.fire_time
       and not f.open and f.state <> 0
    returning f.tenant_id, f.schedule_id, f.fire_time
), noted as (
    update schedules s
       set forgotten_to = greatest(s.forgotten_to, g.last)
      from (select tenant_id, schedule_id, max(fire_time) as last
              from gone
             group by tenant_id, schedule_id) g
     where s.tenant_id = g.tenant_id and s.id = g.schedule_id
)
select count(*) as "gone!" from gone
