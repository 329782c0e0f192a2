-- Creates sessions: one or many, one statement, one transaction. The tasks are copied from the
-- plan's rows inside the server. In a session that is not let go ($22: pending; $24: it needs a
-- place first) they all wait.
with v as materialized (
    select v.*, v.state = 1 and not v.limited as goes, clock() as at
      from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::smallint[],
                  $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                  $13::text[], $14::int[], $15::int[], $16::int[], $17::bool[], $18::bool[],
                  $19::bigint[], $20::text[], $21::bool[], $22::smallint[],
                  $23::bigint[], $24::bool[])
           as v (tenant_id, id, version_id, title, type, priority, prompt, description, tags,
                 metadata, inputs, file_dir, created_by, open, total, rows, fail_fast, closing,
                 timeout_ms, schedule_id, epilogue, state, start_timeout_ms, limited)
), s as (
    insert into sessions (tenant_id, id, version_id, title, type, priority, prompt, description,
                          tags, metadata, inputs, file_dir, created_by, created_at, schedule_id)
    select tenant_id, id, version_id, title, type, priority, prompt, description, tags::text[],
           metadata::jsonb, inputs::jsonb, file_dir, created_by, at, schedule_id
      from v
), p as (
    insert into session_progress (tenant_id, session_id, version_id, state, open, total,
                                  next_event, next_seq, fail_fast, closing, timeout_ms, timed,
                                  epilogue, start_by, limited, sweep)
    select tenant_id, id, version_id, state, open, total, 2, rows + 1, fail_fast, closing,
           timeout_ms, timeout_ms is not null, epilogue,
           case when state = 1 then at + start_timeout_ms * interval '1 millisecond' end,
           limited, case when state = 1 and limited then -1 else 0 end
      from v
), e as (
    insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts,
                        ats, bodies, actor)
    select tenant_id, id, 1, 1, at, array[state], array[null::int], array[null::int],
           array[at], array[jsonb_build_object('tasks', total)], created_by
      from v
), t as (
    insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state, queued,
                       undecided, blockers, rank, ready_at, dependents)
    select v.tenant_id, v.id, t.position + 1, t.node, t.parent + 1, t.route,
           coalesce(t.priority, v.priority), t.flags,
           (v.goes and t.blockers = 0 and t.flags & 2 <> 0)::int,
           v.goes and t.blockers = 0 and t.flags & 2 <> 0,
           v.goes and t.blockers = 0 and t.flags & 2 = 0, t.blockers,
           case when v.goes and t.blockers = 0 and t.flags & 2 <> 0
                then v.at + priority_offset(coalesce(t.priority, v.priority)) end,
           case when v.goes and t.blockers = 0 and t.flags & 2 <> 0 then v.at end,
           t.dependents
      from v
      join plan_tasks t on t.tenant_id = v.tenant_id and t.version_id = v.version_id and t.block = 0
)
-- When each was created.
select id as "id!", at as "at!" from v
