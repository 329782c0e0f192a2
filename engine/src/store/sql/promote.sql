-- Makes ready what waited to be tried again. What belongs to a paused session the janitor pauses then.
-- $1 rows at most, $2 the reason for waiting
with promoted as (
    update tasks t
       set state = 1, queued = true, delayed = false, reason = null, ready_at = clock(),
           rank = clock() + priority_offset(t.priority)
     where t.ctid = any (array(select q.ctid from tasks q
                                where q.delayed and q.wake_at <= (select clock())
                                  and q.reason = $2
                                order by q.wake_at limit $1
                                  for update skip locked))
       and t.state = 4 and t.delayed and t.reason = $2
    returning t.tenant_id, t.session_id
)
select count(*) as "promoted!",
       coalesce(array_agg(distinct tenant_id), '{}')  as "tenants!",
       coalesce(array_agg(distinct session_id), '{}') as "sessions!"
  from promoted
