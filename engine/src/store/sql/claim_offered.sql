-- What was offered to a worker. $1 worker, $2 limit, $3 the one session that is served, or null
with picked as materialized (
    select array(
               select t.ctid
                 from offers o
                -- Look-ups by key that are limited to one row stay ones, whatever the planner thinks.
                cross join lateral (
                      select p.state, p.sweep
                        from session_progress p
                       where p.tenant_id = o.tenant_id and p.session_id = o.session_id
                       limit 1) p
                cross join lateral (
                      select t.ctid
                        from tasks t
                       where t.tenant_id = o.tenant_id and t.session_id = o.session_id
                         and t.seq = o.seq and t.state = 2
                       limit 1
                         for update of t skip locked) t
                where o.worker_id = $1 and ($3::uuid is null or o.session_id = $3)
                  and p.state in (1, 2, 4) and p.sweep = 0
                order by o.until
                limit $2::int) as ctids
), claimed as (
    update tasks t
       set state = 3, attempt = t.attempt + 1, worker = $1::uuid
     where t.ctid = any ((select ctids from picked)::tid[])
       and t.state = 2            -- never trust a ctid alone
       and exists (select from workers w
                    where w.id = $1 and w.ended_at is null and w.lease_until > (select clock())
                      and w.drained_at is null)
    returning t.tenant_id, t.session_id, t.seq, t.node, t.attempt, t.failures, t.crashes
), taken as (
    delete from offers o
     where o.worker_id = $1
       and (o.tenant_id, o.session_id, o.seq) in (select c.tenant_id, c.session_id, c.seq
                                                    from claimed c)
), receipt as (
    insert into receipts (worker_id, at, tenants, sessions, seqs)
    select $1::uuid, clock(), array_agg(c.tenant_id), array_agg(c.session_id), array_agg(c.seq)
      from claimed c
    having count(*) > 0
    returning id
)
select (select id from receipt) as "receipt?",
       coalesce(array_agg(c.tenant_id), '{}')  as "tenants!",
       coalesce(array_agg(c.session_id), '{}') as "sessions!",
       coalesce(array_agg(c.seq), '{}')        as "seqs!",
       coalesce(array_agg(c.node), '{}')       as "nodes!",
       coalesce(array_agg(c.attempt), '{}')    as "attempts!",
       coalesce(array_agg(c.failures), '{}')   as "failures!",
       coalesce(array_agg(c.crashes), '{}')    as "crashes!"
  from claimed c
