-- A stretch of all tasks in the order of their keys: its last row, and those rows of it that are in
-- progress though their worker ended and, as far as its receipts said, left nothing behind.
-- $1 tenant, $2 session, $3 seq after which it begins, $4 rows
with stretch as materialized (
    select tenant_id, session_id, seq, attempt, crashes, noted, state, worker
      from tasks
     where (tenant_id, session_id, seq) > ($1, $2, $3)
     order by tenant_id, session_id, seq
     limit $4
)
select last.*, null::uuid as worker, true as "is_last!"
  from (select tenant_id as "tenant_id!", session_id as "session_id!", seq as "seq!",
               attempt as "attempt!", crashes as "crashes!", noted >= attempt as "started!"
          from stretch
         order by tenant_id desc, session_id desc, seq desc
         limit 1) last
 union all
select s.tenant_id, s.session_id, s.seq, s.attempt, s.crashes, s.noted >= s.attempt, s.worker, false
  from stretch s
 where s.state = 3
   and not exists (select from workers w where w.id = s.worker and not w.swept)
