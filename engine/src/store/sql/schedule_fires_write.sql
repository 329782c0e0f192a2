-- Records what became of fires of locked schedules. One that waits in line may start or fail; one
-- that was decided otherwise stays as it is and is not counted. $1 tenants, $2 schedules, $3 times,
-- $4 kinds, $5 states, $6 sessions, $7 reasons, $8 who asked
insert into schedule_fires as f
       (tenant_id, schedule_id, fire_time, kind, state, session_id, open, reason, created_by,
        decided_at)
select u.tenant_id, u.schedule_id, u.fire_time, u.kind, u.state, u.session_id,
       u.session_id is not null, u.reason, u.created_by, clock()
  from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::smallint[], $5::smallint[],
              $6::uuid[], $7::text[], $8::text[])
       as u (tenant_id, schedule_id, fire_time, kind, state, session_id, reason, created_by)
    on conflict (tenant_id, schedule_id, fire_time)
       do update set state = excluded.state, session_id = excluded.session_id,
                     open = excluded.open, reason = excluded.reason,
                     decided_at = excluded.decided_at
           where f.state = 0
