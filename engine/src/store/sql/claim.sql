-- $1 routes int[] (rotated on every call: arms are read in this order), $2 limit, $3 worker uuid,
-- $4 the one session that is served, or null, $5 int[] at most so many of each route (none: $2)
-- Run with synchronous_commit = off: a claim lost in a crash is a task that is still ready.
with picked as materialized (
    -- An array made by an init plan: the limit cannot mislead the planner. No sort above the arms:
    -- they stop when the batch is full, and nothing is locked in vain.
    select array(
               select x.ctid
                 from unnest($1::int[], $5::int[]) as r (route, share)
                cross join lateral (
                      select q.ctid
                        from tasks q
                       where q.queued and q.route = r.route
                         and ($4::uuid is null or q.session_id = $4)
                         and (select p.state in (1, 2, 4) and p.sweep = 0
                                from session_progress p
                               where p.tenant_id = q.tenant_id and p.session_id = q.session_id)
                       order by q.rank
                       limit coalesce(r.share, $2::int)
                         for update of q skip locked) x
                limit $2::int) as ctids
), claimed as (
    update tasks t
       set state = 3, queued = false, attempt = t.attempt + 1, worker = $3::uuid
     where t.ctid = any ((select ctids from picked)::tid[])
       and t.state = 1            -- never trust a ctid alone
       and exists (select from workers w
                    where w.id = $3 and w.ended_at is null and w.lease_until > (select clock())
                      and w.drained_at is null)
    returning t.tenant_id, t.session_id, t.seq, t.node, t.attempt, t.failures, t.crashes
), receipt as (
    insert into receipts (worker_id, at, tenants, sessions, seqs)
    select $3::uuid, clock(), array_agg(c.tenant_id), array_agg(c.session_id), array_agg(c.seq)
      from claimed c
    having count(*) > 0
    returning id
)
select (select id from receipt) as "receipt?",
       (select cardinality(ctids) from picked) as "candidates!",
       coalesce(array_agg(c.tenant_id), '{}')  as "tenants!",
       coalesce(array_agg(c.session_id), '{}') as "sessions!",
       coalesce(array_agg(c.seq), '{}')        as "seqs!",
       coalesce(array_agg(c.node), '{}')       as "nodes!",
       coalesce(array_agg(c.attempt), '{}')    as "attempts!",
       coalesce(array_agg(c.failures), '{}')   as "failures!",
       coalesce(array_agg(c.crashes), '{}')    as "crashes!"
  from claimed c
