-- Which of these rows a worker still holds. $1 tenants, $2 sessions, $3 seqs, $4 worker
select t.tenant_id, t.session_id, t.seq, t.attempt, t.crashes,
       t.noted >= t.attempt as "started!"
  from unnest($1::uuid[], $2::uuid[], $3::int[]) as k (tenant_id, session_id, seq)
  join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
              and t.seq = k.seq
 where t.state = 3 and t.worker = $4
