-- What a worker's claims say it holds, but for those that are only just answered. $1 worker
select t.tenant_id, t.session_id, t.seq, t.attempt
  from receipts r
 cross join lateral unnest(r.tenants, r.sessions, r.seqs) as k (tenant_id, session_id, seq)
  join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id and t.seq = k.seq
 where r.worker_id = $1 and r.at < (select clock()) - interval '2 seconds'
   and t.state = 3 and t.worker = $1
 limit 10000
