-- Forgets workers that ended long ago and left nothing behind.
delete from workers w
 where w.ctid = any (array(select o.ctid from workers o
                            where o.swept and o.ended_at < (select clock()) - interval '30 days'
                            order by o.ended_at limit 100 for update skip locked))
   and w.swept
   and not exists (select from receipts r where r.worker_id = w.id)
returning w.id
