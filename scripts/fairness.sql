-- What a claim costs a tenant with little to do while another has 1 000 000 ready tasks: the claim that
-- workers send, timed one by one. On a fresh, migrated database:
--   cargo run -p jobshop-tests --bin with-database -- sh -c 'psql "$DATABASE_URL" -f scripts/fairness.sql'
\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
set client_min_messages = warning;
set synchronous_commit = off;
\i tests/tests/statements/functions.sql
\set claim `cat engine/src/store/sql/claim.sql`
prepare claim as :claim;
\set live_routes `cat engine/src/store/sql/live_routes.sql`
prepare live_routes as :live_routes;

create function other() returns uuid language sql immutable
as $$ select '00000000-0000-0000-0000-000000000002'::uuid $$;

-- Ready tasks of a tenant on a route, 100 in each session.
create procedure fill(tenant uuid, route int, first int, last int) language sql as $$
    insert into session_progress (tenant_id, session_id, version_id, state, open, total, next_event,
                                  next_seq, fail_fast, closing)
    select $1, session(n), version(1), 2, 100, 100, 1, 1000, false, false from generate_series(first, last) n;
    insert into tasks (tenant_id, session_id, seq, node, route, priority, flags, state, queued,
                       blockers, rank, ready_at)
    select $1, session(s), q, q - 1, $2, 2, 3, 1, true, 0, at + s * interval '1 millisecond', at
      from (select clock() as at) c, generate_series(first, last) s, generate_series(1, 100) q;
$$;

create table measured (what text, ms float8, pages int);
-- Executes a statement and notes how long that took, and how many pages it looked at.
create function measure(what text, statement text) returns void language plpgsql as $$
declare
    plan json;
begin
    execute 'explain (analyze, buffers, timing off, format json) ' || statement into plan;
    insert into measured
    values ($1, (plan -> 0 ->> 'Execution Time')::float8,
            (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int
            + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int);
end
$$;

insert into workers (id, name, host, pid, capabilities, concurrency, version, started_at, lease_until)
select worker(1), 'worker', 'host', 1, '{*}', 8, '1', clock(), clock() + interval '1 day';

\o /dev/null
-- Alone: 400 times a look at what is live, and a free slot.
call fill(other(), 2, 1, 10);
vacuum analyze;
select 'select measure(''look, alone'', ''execute live_routes (0, 1000)'')',
       'select measure(''claim, alone'', ''execute claim (''''{2}'''', 1, worker(1), null, ''''{1}'''')'')'
  from generate_series(1, 400) \gexec

-- Beside the flood, of which 64 are taken before every claim.
call fill(tenant(), 1, 1001, 11000);
vacuum analyze;
select 'execute claim (''{1}'', 64, worker(1), null, ''{64}'')',
       'select measure(''look, beside 1 000 000'', ''execute live_routes (0, 1000)'')',
       'select measure(''claim, beside 1 000 000'', ''execute claim (''''{2,1}'''', 1, worker(1), null, ''''{1,1}'''')'')'
  from generate_series(1, 400) \gexec
\o

select what, count(*), round(avg(pages), 1) as pages, max(pages) as pages_max,
       round(percentile_cont(0.1) within group (order by ms)::numeric, 3) as p10_ms,
       round(percentile_cont(0.5) within group (order by ms)::numeric, 3) as p50_ms,
       round(percentile_cont(0.99) within group (order by ms)::numeric, 3) as p99_ms
  from measured
 group by what
 order by what;
select case when session_id < session(1000) then 'with little' else 'with 1 000 000' end as tenant,
       count(*) filter (where state = 3) as given, count(*) filter (where state = 1) as waiting
  from tasks group by 1 order by 1;
