-- A database with a long history and a full queue: 1 008 000 tasks in 9 952 sessions.
--
--     1..9800  ended, 100 tasks each
--  9801..9900  running, all of their 100 tasks ready, on 6 routes
--  9901..9950  running; of 100 tasks: 1..50 completed, 51..60 in progress at worker(1),
--              61..70 waiting for another try (5 are due), 71..73 asleep (2 are due),
--              74 and 75 waiting for a session of their own to begin (both are due),
--              76..80 undecided, 81..100 waiting for 51..60
--        9951  cancelled with 4 500 of 5 000 tasks open
--        9952  a fan-out: 2 000 of 3 000 items laid down at 4 rows each, 1 900 of them ended
insert into workers (id, name, host, pid, capabilities, concurrency, version, started_at,
                     lease_until, ended_at, swept)
select worker(n), 'worker-' || n, 'host', n, '{*}', 8, '1', clock() - interval '1 day',
       clock() + case when n <= 50 then interval '1 hour' else interval '-1 hour' end,
       case when n > 52 then clock() - interval '50 min' end, n > 54
  from generate_series(1, 2000) n;

insert into receipts (worker_id, at, tenants, sessions, seqs)
select worker(1 + n % 54), clock(), tenants(10), same(session(9901 + n % 50), 10), numbers(51, 60)
  from generate_series(1, 2000) n;

insert into routes (tenant_id, capabilities)
select tenant(), capabilities(n, n) from generate_series(1, 100) n;

insert into workflows (tenant_id, name, latest) values (tenant(), 'history', 2000);
insert into workflow_versions (tenant_id, id, name, version, hash, definition, plan)
select tenant(), version(n), 'history', n, int4send(n), 'version: 1', '{}'
  from generate_series(1, 2000) n;
insert into plan_tasks (tenant_id, version_id, block, position, node, route, flags, blockers)
select tenant(), version(v), 0, p, p, 1 + p % 6, 3, 0
  from generate_series(1, 2000) v, generate_series(0, 99) p;
insert into plan_tasks (tenant_id, version_id, block, position, node, parent, route, flags,
                        blockers)
select tenant(), version(v), 1, p, p, 0, 1 + p % 6, 3, 0
  from generate_series(1, 2000) v, generate_series(1, 3) p;

insert into sessions (tenant_id, id, version_id, title, type, priority, inputs, created_at)
select tenant(), session(n), version(1 + n % 2000), 'session ' || n, 'execution', 2, '{}',
       clock() - interval '1 hour'
  from generate_series(1, 9952) n;

insert into session_progress (tenant_id, session_id, version_id, state, sweep, open, total,
                              completed, next_event, next_seq, fail_fast, closing, undecided,
                              timeout_ms, timed, deadline_at, started_at, finished_at)
select tenant(), session(n), version(1 + n % 2000),
       case when n <= 9800 then 5 when n = 9951 then 10 else 2 end,
       case when n = 9951 then 2 else 0 end,
       case when n <= 9800 then 0 when n <= 9900 then 100 else 50 end,
       case when n = 9952 then 6000 else 100 end,
       case when n <= 9800 then 100 when n <= 9900 then 0 else 50 end,
       1000, 10000, false, n % 10 = 0, n in (9930, 9940), 3600000,
       n between 9901 and 9950,
       case when n between 9901 and 9905 then clock() - interval '1 min'
            when n between 9906 and 9950 then clock() + interval '1 hour'
            else clock() - interval '10 min' end,
       clock() - interval '1 hour',
       case when n <= 9800 or n = 9951 then clock() - interval '30 min' end
  from generate_series(1, 9952) n;
update session_progress set open = 0 where session_id in (session(9930), session(9940));

insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, blockers,
                   attempt, noted, rank, ready_at, started_at, finished_at, last_attempt,
                   last_worker, last_outcome, output)
select tenant(), session(s), q, q - 1, 1 + q % 6, 2, 3, 6, 0, 1, 1, at, at, at, at, 1,
       worker(1 + q % 2000), 1, '{}'
  from (select clock() - interval '40 min' as at) c,
       generate_series(1, 9800) s, generate_series(1, 100) q;

insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, queued,
                   blockers, rank, ready_at)
select tenant(), session(s), q, q - 1, 1 + q % 6, 2, 3, 1, true, 0,
       at + s * interval '1 second', at
  from (select clock() - interval '40 min' as at) c,
       generate_series(9801, 9900) s, generate_series(1, 100) q;

insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, reason,
                   undecided, delayed, blockers, attempt, worker, wake_at, dependents, output)
select tenant(), session(s), q, q - 1, 1 + q % 6, 2, 3,
       case when q <= 50 then 6 when q <= 60 then 3 when q <= 75 then 4 else 0 end,
       case when q between 61 and 70 then 2 when q in (74, 75) then 11
            when q between 71 and 75 then 1 end,
       q between 76 and 80, q between 61 and 75, case when q > 80 then 10 else 0 end,
       case when q <= 75 then 1 else 0 end,
       case when q between 51 and 60 then worker(1) end,
       case when q between 61 and 65 or q in (71, 72, 74, 75) then at - interval '1 min'
            when q between 61 and 75 then at + interval '1 hour' end,
       case when q between 51 and 60 then numbers(81, 100) end,
       case when q <= 50 then '{}'::jsonb end
  from (select clock() as at) c,
       generate_series(9901, 9950) s, generate_series(1, 100) q;

insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, blockers)
select tenant(), session(9951), q, q % 100, 1, 2, 3, case when q <= 500 then 6 else 0 end, 1
  from generate_series(1, 5000) q;

insert into tasks (tenant_id, session_id, seq, node, parent, route, priority, flags, state, reason,
                   queued, blockers, attempt, item_key)
select tenant(), session(9952), q, 0, case when q > 1 then 2 + (q - 2) / 4 * 4 end, 1, 2,
       case when q = 1 then 128 when q % 4 = 2 then 64 else 3 end,
       case when q = 1 or q > 7601 and q % 4 = 2 then 4 when q > 7601 then 1 else 6 end,
       case when q = 1 or q > 7601 and q % 4 = 2 then 0 end,
       q > 7601 and q % 4 <> 2,
       case when q = 1 then 1100 else 0 end, 0, case when q % 4 = 2 then 'item-' || q end
  from generate_series(1, 8001) q;
update tasks set parent = 1 where session_id = session(9952) and flags = 64;

insert into expansions (tenant_id, session_id, seq, version_id, block, block_rows, base, items,
                        laid, list, unfinished)
select tenant(), session(n), 1, version(1 + n % 2000), 1, 4, 2,
       case when n = 9952 then 3000 else 20 end, case when n = 9952 then 2000 else 20 end,
       (select jsonb_agg(jsonb_build_array(i::text, i))
          from generate_series(1, case when n = 9952 then 3000 else 20 end) i),
       n = 9952
  from generate_series(2, 9952, 5) n;

insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks, attempts, ats)
select tenant(), session(s), 1 + e * 4, 4 + e * 4, clock(), same(15::smallint, 4),
       same(1::int, 4), same(1::int, 4), same(clock(), 4)
  from generate_series(1, 9952) s,
       generate_series(0, case when s = 9901 then 2000 else 4 end) e;

insert into blobs (tenant_id, hash, body)
select tenant(), int4send(n), '{}' from generate_series(1, 5000) n;

-- 2 000 schedules with 100 fires each; 5 are due, and of 50 a session runs.
insert into schedules (tenant_id, id, workflow, source, rule, since, next_fire, due_at, open,
                       created_at, updated_at)
select tenant(), 'workflow/s' || n, 'history', 0, '{}', at, at + due, at + due,
       (n <= 50)::int, at, at
  from (select clock() as at) c, generate_series(1, 2000) n
 cross join lateral (select case when n <= 5 then interval '-1 min' else interval '1 hour' end) d (due);
insert into schedule_fires (tenant_id, schedule_id, fire_time, kind, state, session_id, open,
                            decided_at)
select tenant(), 'workflow/s' || n, at - f * interval '1 day', 0, case when f = 1 and n <= 50 then 1 else 3 end,
       case when f = 1 and n <= 50 then session(9700 + n) end, f = 1 and n <= 50, at
  from (select clock() as at) c, generate_series(1, 2000) n, generate_series(1, 100) f;

-- 5 000 locks and 5 000 concurrency keys, each held once with 9 in line.
insert into limits (tenant_id, kind, name, capacity, ceiling, held, workflow, defined_at)
select tenant(), k, 'limit-' || lpad(n::text, 5, '0'), 1, 1, 1, 'history', at
  from (select clock() as at) c, generate_series(0, 1) k, generate_series(1, 5000) n;
insert into tickets (tenant_id, session_id, seq, kind, name, rank, number, total, starts, since, held,
                     held_since)
select tenant(), session(1 + (n * 10 + w) % 9800), case when k = 0 then 1 + w else 0 end, k,
       'limit-' || lpad(n::text, 5, '0'), at + w * interval '1 second', n * 10 + w, 1, true, at,
       w = 0, case when w = 0 then at end
  from (select clock() as at) c, generate_series(0, 1) k, generate_series(1, 5000) n,
       generate_series(0, 9) w;

-- 50 tasks are assigned; of half of them the time is over.
update tasks set state = 2, queued = false
 where tenant_id = tenant() and session_id = session(9899) and seq between 1 and 50 and state = 1;
insert into offers (tenant_id, session_id, seq, worker_id, score, offered_at, until)
select tenant(), session(9899), n, worker(1), 0.5, at,
       at + case when n > 25 then interval '1 hour' else interval '-1 min' end
  from (select clock() as at) c, generate_series(1, 50) n;
