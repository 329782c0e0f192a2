-- Renews a lease that has neither run out nor been ended. $1 worker, $2 seconds
update workers
   set lease_until = clock() + make_interval(secs => $2)
 where id = $1 and ended_at is null and lease_until > clock()
