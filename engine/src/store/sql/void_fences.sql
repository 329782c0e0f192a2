-- Whether these fences hold, in their order: nobody else ended the attempt, and its session has
-- neither ended nor is it failing fast.
-- $1 tenants, $2 sessions, $3 seqs, $4 attempts, $5 workers
select (t.state = 3 and t.attempt = k.attempt and t.worker = k.worker
        and p.state < 5 and p.sweep = 0) is true as "holds!"
  from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::uuid[]) with ordinality
       as k (tenant_id, session_id, seq, attempt, worker, slot)
  left join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
                   and t.seq = k.seq
  left join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
 order by k.slot
