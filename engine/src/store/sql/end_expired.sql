-- Marks workers whose lease ran out as ended.
update workers set ended_at = clock()
 where ctid = any (array(select w.ctid from workers w
                          where w.ended_at is null and w.lease_until <= (select clock())
                          order by w.lease_until limit 100 for update skip locked))
   and ended_at is null and lease_until <= (select clock())
