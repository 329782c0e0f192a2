-- Locks limits in their order: those that are named, which are kept from here on, those of rows that
-- give up their tickets, and those that the first who wait there wait for besides. Whoever holds them
-- waits for nothing after.
-- $1 tenants, $2 kinds, $3 names, $4 capacities (of limits that nobody may have named before),
-- $5 sessions that name them; rows: $6 tenants, $7 sessions, $8 seqs
with named as materialized (
    select i.tenant_id, i.kind, i.name, i.capacity, i.session_id
      from unnest($1::uuid[], $2::smallint[], $3::text[], $4::int[], $5::uuid[])
           as i (tenant_id, kind, name, capacity, session_id)
), asked as materialized (
    select tenant_id, kind, name from named
     union
    select t.tenant_id, t.kind, t.name
      from unnest($6::uuid[], $7::uuid[], $8::int[]) as r (tenant_id, session_id, seq)
     cross join lateral (
           select t.tenant_id, t.kind, t.name from tickets t
            where t.tenant_id = r.tenant_id and t.session_id = r.session_id and t.seq = r.seq
            limit 100) t
), wanted as materialized (
    select tenant_id, kind, name from asked
     union
    select n.tenant_id, n.kind, n.name
      from asked a
     cross join lateral (
           select w.session_id, w.seq from tickets w
            where w.tenant_id = a.tenant_id and w.kind = a.kind and w.name = a.name
              and not w.held and not w.parked
            order by w.rank, w.number
            limit 64) w
     cross join lateral (
           select n.tenant_id, n.kind, n.name from tickets n
            where n.tenant_id = a.tenant_id and n.session_id = w.session_id and n.seq = w.seq
            limit 100) n
), known as materialized (
    -- As it stands, or else as the newest of those says who name it now.
    select w.tenant_id, w.kind, w.name, l.capacity, l.ceiling, l.workflow, l.defined_at
      from wanted w
     cross join lateral (
           select x.capacity, x.ceiling, x.workflow, x.defined_at
             from (select l.capacity, l.ceiling, l.workflow, l.defined_at, 0 as place from limits l
                    where l.tenant_id = w.tenant_id and l.kind = w.kind and l.name = w.name
                    union all
                   select n.capacity, n.capacity, v.name, v.created_at, 1
                     from named n
                    cross join lateral (
                          select s.version_id from sessions s
                           where s.tenant_id = n.tenant_id and s.id = n.session_id
                           limit 1) s
                    cross join lateral (
                          select v.name, v.created_at from workflow_versions v
                           where v.tenant_id = n.tenant_id and v.id = s.version_id
                           limit 1) v
                    where n.tenant_id = w.tenant_id and n.kind = w.kind and n.name = w.name) x
            order by x.place, x.defined_at desc
            limit 1) l
), locked as (
    -- What is there already is locked and stays as it is.
    insert into limits (tenant_id, kind, name, capacity, ceiling, workflow, defined_at)
    select tenant_id, kind, name, capacity, ceiling, workflow, defined_at
      from known
     order by tenant_id, kind, name
        on conflict on constraint limits_pkey do update set due = true
     where limits.held < 0
)
select tenant_id as "tenant_id!", kind as "kind!", name as "name!" from known
