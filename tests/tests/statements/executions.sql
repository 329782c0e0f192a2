-- Each hot statement once, as it comes in life.

-- The first page of a large fan-out's items.
execute all_skipped (same(tenant(), 100), same(session(9952), 100), numbers(2, 401, 1));

-- The first stretch of all sessions, nearly all of which ended long ago.
execute archive_due ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000',
                     500, 60000, 10000);

execute archive_remove (tenant(), session(4000), 1000, 0, 'file:///archive', '');

-- Half of the tasks of a session are undone.
execute begin_compensation (tenant(), session(9930), 0, 0, 7, null, null, numbers(0, 99),
                            numbers(0, 99), 0, 1, 33, '{}', null);

execute begin_finally (tenant(), session(9930), 0, 0, 7, null, null, 3, '{98,99,100}', 600000, 2,
                       33, '{}', null);

execute children_due (11);

execute children_left (11, 16, 9::smallint);

execute children_over (11);

execute claim ('{1,2,3,4,5,6}', 500, worker(1), null, '{}');
execute claim_offered (worker(1), 100, null);

execute closing;

-- Of a long session, when its context is nearly up to date.
execute context_ends (tenant(), session(9901), 4000, 18::smallint, '{0,1,2}', 200);

-- A hundred sessions of a hundred tasks.
execute "create" (tenants(100), sessions(20001, 20100), same(version(7), 100),
                same('title'::text, 100), same('execution'::text, 100), same(2::smallint, 100),
                same(null::text, 100), same(null::text, 100), same('{}'::text, 100),
                same('{}'::text, 100), same('{}'::text, 100), same(null::text, 100),
                same(null::text, 100), same(100, 100), same(100, 100), same(100, 100),
                same(false, 100), same(false, 100), same(null::bigint, 100),
                same(null::text, 100), same(false, 100), same(1::smallint, 100),
                same(null::bigint, 100), same(false, 100));

execute due;

execute end_expired;

-- In the middle of a long history.
execute event_view (tenant(), session(9901), 4000, 101);

execute end_by_hand (tenant(), session(5000), numbers(1, 100), 6::smallint, null, '{}', null);

execute expand (tenant(), session(9952), 1, 2000, 1000, 0, 64, 3);

-- Half of a session's tasks run again.
execute fork (tenant(), session(9930), session(30001), 'title', '{}', null, 'task', numbers(1, 50),
              same(0::smallint, 50), same(0, 50), same(false, 50), same(-1::bigint, 50), false, false,
              false, '{}', 512::smallint, same(false, 50), same(false, 50), 16384::smallint,
              same(0, 50));

-- A worker says a hundred ends again.
execute finished_before (tenants(100), sessions(9901, 9910, 10), numbers(51, 60, 10),
                         same(1, 100), same(1::smallint, 100), worker(1));

execute forget (worker(1), array[gen_random_uuid(), gen_random_uuid()]);

execute forget_ended;

execute gates (10);

execute healed;

execute held_claims (worker(1));

execute held_rows (tenants(10), same(session(9901), 10), numbers(51, 60), worker(1));

execute held_sessions (tenants(10), sessions(9901, 9910), worker(1));

execute lanes (capabilities(1, 50), worker(1));

-- Ten limits that are known and ten that are new, and what ten rows hold.
execute limits_lock (tenants(20), same(0::smallint, 20), limit_names(4991, 5010), same(1, 20),
                     sessions(9801, 9820), tenants(10), sessions(11, 101, 10), same(1, 10));

execute live_routes (0, 1000);

execute locks_grant (tenants(20), limit_names(1, 20), 17);

execute moving;

execute next_due;

execute note_starts (tenants(10), sessions(9901, 9910), slots(10, 10), numbers(51, 60, 10),
                     same(1, 100), same(40, 100), worker(1));

execute offers_over (500);
execute open_rows (tenant(), session(9951), 0, 1000, 512);

execute overdue (8, 8, 7);

execute places_admit (tenants(10), sessions(9801, 9810), 38::smallint);

execute places_grant (tenants(20), limit_names(1, 20));

execute promote (1000, '{2,19}', 13, 18);

execute receipts (worker(1), 200);

execute renew (worker(1), 30);

execute reopen (tenant(), session(5000), null, numbers(1, 100), same(1::smallint, 100),
                same(0, 100), same(false, 100), same(-1::bigint, 100), false, '{}', null,
                same(false, 100), same(false, 100), 16384::smallint);

execute route_waiting (tenant(), 1, 5000, 60);

-- A worker that offers half of what is asked for.
execute routes (capabilities(1, 50));

-- A hundred old fires of ten schedules, and a stretch of which nearly none is old.
execute schedule_fires_forget (tenants(100), schedule_slots(51, 60, 10), fire_times(100));

execute schedule_fires_old ('00000000-0000-0000-0000-000000000000', '', clock(), 1000, 7776000, 50);

execute schedule_fires_write (tenants(50), schedules(1, 50), same(clock(), 50),
                              same(0::smallint, 50), same(2::smallint, 50), same(null::uuid, 50),
                              same(null::text, 50), same(null::text, 50));

execute schedules_ended (tenants(50), schedules(1, 50));

execute schedules_lock (tenants(50), schedules(1, 50));

execute schedules_waiting (50);

execute schedules_write (tenants(50), schedules(1, 50), same(clock(), 50), same(clock(), 50),
                         same(clock(), 50), same(1, 50), same(0, 50), same(1, 50), same(0, 50),
                         same(null::text, 50));

execute session_facts (tenants(100), sessions(9801, 9900));

execute session_info (tenants(100), sessions(9801, 9900));

-- A page of the newest.
execute session_view (tenant(), sessions(9852, 9952), 10000, 1::smallint);

execute start_late (500);

execute start_sessions (tenants(100), sessions(9801, 9900));

execute sweeping;

execute task_view (tenant(), session(9952), 4000, null, 101);

execute tickets_issue (tenants(20), sessions(9801, 9820), same(1, 20), same(0::smallint, 20),
                       limit_names(1, 20), same(2, 20), same(true, 20), same(false, 20));

execute tickets_park (tenant(), session(21), '{2,3}');

execute tickets_release (tenants(10), sessions(11, 20), same(1, 10));

execute tickets_stray (tenants(5), same(0::smallint, 5), limit_names(1, 5), 17);

-- A worker ends a hundred attempts in ten sessions and takes fifty of what that makes ready.
execute transition (tenants(10), sessions(9901, 9910), same(-1, 10), slots(10, 10),
                    numbers(51, 60, 10), same(3::smallint, 100), same(1, 100),
                    same(6::smallint, 100), same(-1::smallint, 100), same('{}'::text, 100),
                    same(null::bytea, 100), same(null::text, 100), same(-1::bigint, 100),
                    same(3, 100), same(1::smallint, 100), same(-1, 100), same(null::text, 100),
                    same(18::smallint, 100), same(null::text, 100), same(false, 100),
                    worker(1), true, false, '{1,2,3,4,5,6}', 50, same(false, 10), null, 10::smallint, 17::smallint,
                    same((-1)::smallint, 100), same(0, 100), 18::smallint);

execute undecided (500);

execute unfinished;

execute unswept;

execute value_ranges (tenants(1), sessions(9952, 9952), '{2}', '{8002}');

execute value_rows (tenants(100), sessions(9901, 9910, 10), numbers(1, 10, 10));

execute value_spans (tenants(10), sessions(9952, 9952, 10), same(1, 10));

execute version (tenant(), version(1000));

execute void_fences (tenants(100), sessions(9901, 9910, 10), numbers(51, 60, 10), same(1, 100),
                     same(worker(1), 100));
