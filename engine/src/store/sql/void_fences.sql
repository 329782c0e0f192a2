-- How these fences stand, in their order: 0 they hold; 1 somebody else ended the attempt, or its
-- session has ended or what is open of it is being cancelled; 2 the session is being stopped.
-- $1 tenants, $2 sessions, $3 seqs, $4 attempts, $5 workers
select case when (t.state = 3 and t.attempt = k.attempt and t.worker = k.worker
                  and p.state < 5) is not true then 1
            when p.sweep = 0 then 0
            when p.sweep = 3 and p.result = 9 then 2
            else 1 end as "standing!"
  from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::uuid[]) with ordinality
       as k (tenant_id, session_id, seq, attempt, worker, slot)
  left join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
                   and t.seq = k.seq
  left join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
 order by k.slot
