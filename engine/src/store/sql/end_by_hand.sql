-- Rows of an ended session are given another end; the session's row is locked already.
-- $1 tenant, $2 session, $3 seqs, $4 the state, $5 the reason, $6 output text, $7 its blob
with before as materialized (
    select count(*) filter (where state = 6) as completed,
           count(*) filter (where state = 7) as failed,
           count(*) filter (where state = 8) as cancelled,
           count(*) filter (where state = 9) as skipped,
           count(*) as rows
      from tasks
     where tenant_id = $1 and session_id = $2 and seq = any($3) and state >= 6 and flags & 1 <> 0
), ended as (
    update tasks t
       set state = $4, reason = $5, output = $6::text::jsonb, output_blob = $7, error = null,
           finished_at = clock()
     where t.tenant_id = $1 and t.session_id = $2 and t.seq = any($3) and t.state >= 6
)
update session_progress p
   set completed = p.completed - b.completed + case when $4 = 6 then b.rows else 0 end,
       failed    = p.failed - b.failed,
       cancelled = p.cancelled - b.cancelled,
       skipped   = p.skipped - b.skipped + case when $4 = 9 then b.rows else 0 end
  from before b
 where p.tenant_id = $1 and p.session_id = $2
