-- What a session has left open. $1 tenant, $2 session, $3 after this row, $4 rows at most
select seq, attempt, state from tasks
 where tenant_id = $1 and session_id = $2 and seq > $3 and state < 6
 order by seq
 limit $4
