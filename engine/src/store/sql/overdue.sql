-- Sessions whose deadline has passed. One with nothing to run afterwards ends; of the others what
-- is open is cancelled first, and they end by the way of every session that is to end.
-- $1 the state they get, $2 the kind of their event, $3 the state after a finally that was too slow
with due as materialized (
    select p.tenant_id, p.session_id, p.epilogue, p.phase from session_progress p
     where p.timed and p.deadline_at <= (select clock()) and p.state in (1, 2, 3, 4)
     order by p.tenant_id, p.session_id limit 100
       for no key update skip locked
), moved as (
    update session_progress p
       set state = case when due.epilogue then p.state else $1 end,
           result = case when not due.epilogue then p.result
                         when due.phase > 0 then $3::smallint else $1 end,
           sweep = case when not due.epilogue then 2 when due.phase > 0 then 4 else 3 end,
           timed = false,
           undecided = due.epilogue and p.open = 0,
           finished_at = case when not due.epilogue then clock() end,
           next_event = p.next_event + (not due.epilogue)::int,
           error = coalesce(case when due.phase > 0 then p.error end,
                            jsonb_build_object('class', 'timeout', 'message',
                                case when due.phase > 0 then 'what is under `finally` ran out of time'
                                     else 'the session ran out of time' end))
      from due
     where p.tenant_id = due.tenant_id and p.session_id = due.session_id
    returning p.tenant_id, p.session_id, p.next_event - 1 as number, p.finished_at, p.epilogue, p.limited
), logged as (
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                        attempts, ats)
    select tenant_id, session_id, number, number, finished_at, array[$2::smallint],
           array[null::int], array[null::int], array[finished_at]
      from moved
     where not epilogue
)
select tenant_id, session_id, limited and not epilogue as "leaves!" from moved
