-- Ends sessions whose deadline has passed. $1 the state they get, $2 the kind of their event
with due as materialized (
    select p.tenant_id, p.session_id from session_progress p
     where p.timed and p.deadline_at <= (select clock()) and p.state in (1, 2, 3, 4)
     order by p.tenant_id, p.session_id limit 100
       for no key update skip locked
), ended as (
    update session_progress p
       set state = $1, sweep = 2, timed = false, undecided = false,
           finished_at = clock(), next_event = p.next_event + 1,
           error = jsonb_build_object('class', 'timeout', 'message',
                                      'the session ran out of time')
      from due
     where p.tenant_id = due.tenant_id and p.session_id = due.session_id
    returning p.tenant_id, p.session_id, p.next_event - 1 as number, p.finished_at
), logged as (
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                        attempts, ats)
    select tenant_id, session_id, number, number, finished_at, array[$2::smallint],
           array[null::int], array[null::int], array[finished_at]
      from ended
)
select session_id from ended
