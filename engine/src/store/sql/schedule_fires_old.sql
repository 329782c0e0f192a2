-- A stretch of all fires in the order of their keys, and which of them may be forgotten: decided long
-- ago, of no session that could run again, none of the newest of their schedule, and before the fire
-- that comes next. $1 tenant, $2 schedule, $3 time after which it begins, $4 rows, $5 seconds for
-- which each is kept, $6 how many of each schedule are kept in any case
with stretch as materialized (
    select tenant_id, schedule_id, fire_time, state, session_id, open, decided_at
      from schedule_fires
     where (tenant_id, schedule_id, fire_time) > ($1, $2, $3)
     order by tenant_id, schedule_id, fire_time
     limit $4
), schedule as materialized (
    select k.tenant_id, k.schedule_id, s.next_fire, n.newest
      from (select distinct tenant_id, schedule_id from stretch) k
     -- Limited to one row each is a look-up by key, whatever the planner thinks of the table.
     cross join lateral (
           select next_fire from schedules
            where tenant_id = k.tenant_id and id = k.schedule_id
            limit 1) s
     cross join lateral (
           select min(f.fire_time) as newest
             from (select fire_time from schedule_fires
                    where tenant_id = k.tenant_id and schedule_id = k.schedule_id
                    order by fire_time desc
                    limit $6) f) n
)
select f.tenant_id, f.schedule_id, f.fire_time,
       case
           when f.open or f.state = 0 or s.newest is null or f.fire_time >= s.newest then false
           when f.decided_at > clock() - $5 * interval '1 second' then false
           when f.fire_time >= s.next_fire then false
           -- Its schedule counts a session that is retried among those that it has running.
           else coalesce((select p.state in (5, 10)
                            from session_progress p
                           where p.tenant_id = f.tenant_id and p.session_id = f.session_id
                           limit 1), true)
       end as "is_old!"
  from stretch f
  left join schedule s on s.tenant_id = f.tenant_id and s.schedule_id = f.schedule_id
 order by f.tenant_id, f.schedule_id, f.fire_time
