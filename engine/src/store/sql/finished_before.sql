-- Which of these ends, counted from 1, were recorded before.
-- $1 tenants uuid[], $2 sessions uuid[], $3 seq int[], $4 attempt int[], $5 outcome smallint[] per row;
-- $6 worker uuid
select i.nth as "nth!"
  from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::smallint[])
       with ordinality as i (tenant_id, session_id, seq, attempt, outcome, nth)
  join tasks t on t.tenant_id = i.tenant_id and t.session_id = i.session_id and t.seq = i.seq
 where t.last_attempt = i.attempt and t.last_worker = $6 and t.last_outcome = i.outcome
