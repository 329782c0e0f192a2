-- Sessions of which the janitor has ready rows to pause, or paused rows to let go.
select tenant_id, session_id from session_progress
 where moving
 order by tenant_id, session_id
 limit 100
