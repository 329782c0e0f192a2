-- Renews a lease that has neither run out nor been ended. $1 worker, $2 seconds
update workers
   set lease_until = clock() + make_interval(secs => $2)
 where id = $1 and lease_until > clock()
   -- Written so that only the key finds the row: without statistics the planner may take the index of
   -- all that live for as good.
   and coalesce(ended_at, 'infinity') = 'infinity'
