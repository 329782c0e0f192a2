-- What a worker still holds of these sessions. $1 tenants, $2 sessions, $3 worker
select t.tenant_id, t.session_id, t.seq, t.attempt, t.crashes,
       t.noted >= t.attempt as "started!"
  from unnest($1::uuid[], $2::uuid[]) as k (tenant_id, session_id)
  join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
 where t.state = 3 and t.worker = $3
 limit 10000
