-- Gives sessions their start before anything in them has started, because a template reads it; the
-- first task to start changes it no more. $1 tenants, $2 ids: in lock order
with locked as materialized (
    select p.tenant_id, p.session_id
      from unnest($1::uuid[], $2::uuid[]) with ordinality as k (tenant_id, session_id, slot)
      join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
     where p.started_at is null and p.state < 5
     order by k.slot
       for no key update of p
), book as materialized (
    select clock() as at from (select count(*) from locked) l
)
update session_progress p
   set started_at  = b.at,
       deadline_at = case when p.timed then b.at + p.timeout_ms * interval '1 millisecond'
                          else p.deadline_at end
  from locked l cross join book b
 where p.tenant_id = l.tenant_id and p.session_id = l.session_id
