-- What a worker may still hold. $1 worker, $2 receipts at most
select id, tenants, sessions, seqs from receipts
 where worker_id = $1 order by at, id limit $2
