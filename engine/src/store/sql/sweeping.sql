-- Sessions of which the janitor has to cancel what is open.
select tenant_id, session_id, state, phase, result from session_progress
 where sweep > 0
 order by tenant_id, session_id
 limit 100
