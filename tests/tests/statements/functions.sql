-- What the arguments of the executions are made of: EXECUTE takes no sub-selects. Besides, nothing
-- but the test decides when statistics are taken.
create function session(n bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function worker(n bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function version(n bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function tenant() returns uuid language sql immutable
as $$ select '00000000-0000-0000-0000-000000000001'::uuid $$;

create function sessions(first bigint, last bigint, each bigint default 1) returns uuid[]
language sql as $$
    select array_agg(session(n) order by n, i)
      from generate_series(first, last) n, generate_series(1, each) i
$$;
create function tenants(count bigint) returns uuid[] language sql
as $$ select array_fill(tenant(), array[count::int]) $$;
create function numbers(first bigint, last bigint, times bigint default 1) returns int[]
language sql as $$
    select array_agg(n::int order by i, n)
      from generate_series(first, last) n, generate_series(1, times) i
$$;
create function slots(count bigint, each bigint) returns int[] language sql as $$
    select array_agg(n::int order by n, i)
      from generate_series(1, count) n, generate_series(1, each) i
$$;
create function schedules(first bigint, last bigint) returns text[] language sql as $$
    select array_agg('workflow/s' || n) from generate_series(first, last) n
$$;
create function schedule_slots(first bigint, last bigint, each bigint) returns text[] language sql
as $$
    select array_agg('workflow/s' || n order by n, i)
      from generate_series(first, last) n, generate_series(1, each) i
$$;
create function fire_times(count bigint) returns timestamptz[] language sql as $$
    select array_agg(fire_time)
      from (select fire_time from schedule_fires order by tenant_id, schedule_id, fire_time limit count) f
$$;
create function capabilities(first bigint, last bigint) returns text[] language sql as $$
    select array_agg('capability-' || n) from generate_series(first, last) n
$$;
create function limit_names(first bigint, last bigint) returns text[] language sql as $$
    select array_agg('limit-' || lpad(n::text, 5, '0') order by n) from generate_series(first, last) n
$$;
create function same(value anyelement, count bigint) returns anyarray language sql
as $$ select array_fill(value, array[count::int]) $$;

alter table workers set (autovacuum_enabled = off);
alter table receipts set (autovacuum_enabled = off);
alter table sessions set (autovacuum_enabled = off);
alter table session_progress set (autovacuum_enabled = off);
alter table tasks set (autovacuum_enabled = off);
alter table expansions set (autovacuum_enabled = off);
alter table events set (autovacuum_enabled = off);
alter table blobs set (autovacuum_enabled = off);
alter table plan_tasks set (autovacuum_enabled = off);
alter table workflow_versions set (autovacuum_enabled = off);
alter table limits set (autovacuum_enabled = off);
alter table tickets set (autovacuum_enabled = off);
