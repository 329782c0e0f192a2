-- Makes ready what waited to be tried again, or for a provider; what stands in a paused group is paused then, until the
-- group goes on. What belongs to a paused session the janitor pauses then. $1 rows at most, $2 the
-- reasons for waiting, $3 that of tasks and groups that were paused, $4 that of those that wait for
-- budgets: what stands under some (flag 4096) puts something aside first
with due as materialized (
    select q.ctid,
           q.parent is not null
           and coalesce((select p.state = 5 and p.reason = $3
                           from tasks p
                          where p.tenant_id = q.tenant_id and p.session_id = q.session_id
                            and p.seq = q.parent
                          limit 1), false) as held
      from tasks q
     where q.delayed and q.wake_at <= (select clock()) and q.reason = any ($2)
     order by q.wake_at
     limit $1
       for update skip locked
), picked as materialized (
    -- Arrays: a join could become a scan of all tasks.
    select array_agg(ctid) as ctids, array_agg(ctid) filter (where held) as held from due
), promoted as (
    update tasks t
       set state    = case when t.ctid = any ((select held from picked)::tid[]) then 5
                           when t.flags & 4096 <> 0 then 4 else 1 end,
           reason   = case when t.ctid = any ((select held from picked)::tid[]) then $3::smallint
                           when t.flags & 4096 <> 0 then $4::smallint end,
           was      = case when t.ctid = any ((select held from picked)::tid[])
                           then case when t.flags & 4096 <> 0 then 4 else 1 end end,
           was_reason = case when t.ctid = any ((select held from picked)::tid[])
                                  and t.flags & 4096 <> 0
                             then $4::smallint else t.was_reason end,
           queued   = (t.ctid = any ((select held from picked)::tid[])) is not true
                      and t.flags & 4096 = 0,
           wake_at  = case when t.flags & 4096 = 0 then t.wake_at end,
           delayed  = false,
           ready_at = clock(),
           rank     = clock() + priority_offset(t.priority)
     where t.ctid = any ((select ctids from picked)::tid[])
       and t.state = 4 and t.delayed and t.reason = any ($2)
    returning t.tenant_id, t.session_id, t.state
)
select count(*) as "promoted!",
       coalesce(array_agg(distinct tenant_id), '{}')  as "tenants!",
       coalesce(array_agg(distinct session_id), '{}') as "sessions!",
       coalesce(array_agg(tenant_id) filter (where state = 4), '{}')  as "asking_tenants!",
       coalesce(array_agg(session_id) filter (where state = 4), '{}') as "asking!"
  from promoted
