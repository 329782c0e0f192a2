-- Sessions in which everything of the phase has ended, and which the control loop takes on. A
-- paused one waits, unless it is to end with a result.
select tenant_id, session_id, bad, allowed, retry, phase, result, limited from session_progress
 where undecided and open = 0 and sweep >= 0 and (state in (1, 2, 4) or (state = 3 and result is not null))
 order by tenant_id, session_id
 limit 100
