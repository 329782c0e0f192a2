-- Sessions with nothing open whose outputs have to be rendered.
select tenant_id, session_id, bad, allowed from session_progress
 where undecided and open = 0 and state in (1, 2, 4)
 order by tenant_id, session_id
 limit 100
