-- Lets sessions go that waited for their places. $1 tenants, $2 sessions, $3 kind of the event
with let_go as (
    update session_progress p
       set sweep = 0, next_event = p.next_event + 1,
           -- Of a retry: the time does not run while it waits.
           deadline_at = case when p.timed and p.started_at is not null
                              then clock() + p.timeout_ms * interval '1 millisecond'
                              else p.deadline_at end
      from unnest($1::uuid[], $2::uuid[]) as k (tenant_id, session_id)
     where p.tenant_id = k.tenant_id and p.session_id = k.session_id and p.sweep = -1
    returning p.tenant_id, p.session_id, p.next_event - 1 as number, clock() as at
), rows as (
    update tasks t
       set state = case when t.state = 0 then (t.flags & 2 <> 0)::int else t.state end,
           queued = t.state = 0 and t.flags & 2 <> 0,
           undecided = t.state = 0 and t.flags & 2 = 0,
           was = case when t.state = 5 then 2 - (t.flags & 2 <> 0)::int end,
           ready_at = case when t.flags & 2 <> 0 then l.at end,
           rank = case when t.flags & 2 <> 0 then l.at + priority_offset(t.priority) end
      from let_go l
     where t.tenant_id = l.tenant_id and t.session_id = l.session_id and t.blockers = 0
       and ((t.state = 0 and not t.undecided) or (t.state = 5 and t.was = 0))
)
insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats)
select tenant_id, session_id, number, number, at, array[$3::smallint], array[null::int],
       array[null::int], array[at]
  from let_go
