-- Writes where locked schedules stand now. A reason pauses. $1 tenants, $2 ids, $3 next fires,
-- $4 when they are due, $5 last fires, $6 runs, $7 failures, $8 open, $9 queued, $10 reasons
update schedules s
   set next_fire    = u.next_fire,
       due_at       = u.due_at,
       last_fire    = greatest(u.last_fire, s.last_fire),
       runs         = u.runs,
       failures     = u.failures,
       open         = u.open,
       queued       = u.queued,
       paused_at    = coalesce(s.paused_at, case when u.reason is not null then clock() end),
       pause_reason = case when s.paused_at is null then u.reason else s.pause_reason end
  from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
              $6::int[], $7::int[], $8::int[], $9::int[], $10::text[])
       as u (tenant_id, id, next_fire, due_at, last_fire, runs, failures, open, queued, reason)
 where s.tenant_id = u.tenant_id and s.id = u.id
