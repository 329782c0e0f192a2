-- What a session has left open, from the last row to the first. $1 tenant, $2 session, $3 before
-- this row, $4 rows at most, $5 flags of rows that are left alone
select seq, parent, attempt, state, flags, bad from tasks
 where tenant_id = $1 and session_id = $2 and seq < $3 and state < 6
   and flags & $5 = 0
 order by seq desc
 limit $4
