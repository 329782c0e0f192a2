-- Seconds until the next delayed row or deadline is due; null when there is none.
select extract(epoch from least(
           (select min(wake_at) from tasks where delayed),
           (select min(deadline_at) from session_progress where timed)
       ) - clock())::float8 as "secs"
