-- Offers whose time is over or whose worker takes nothing any more. $1 how many
select o.tenant_id, o.session_id, o.seq, o.until, t.attempt as "attempt?", t.state as "state?"
  from offers o
  left join lateral (
       select t.attempt, t.state
         from tasks t
        where t.tenant_id = o.tenant_id and t.session_id = o.session_id and t.seq = o.seq
        limit 1) t on true
 where o.until <= (select clock())
    or not exists (select from workers w
                    where w.id = o.worker_id and w.lease_until > (select clock())
                      and w.drained_at is null and coalesce(w.ended_at, 'infinity') = 'infinity')
 order by o.until
 limit $1
