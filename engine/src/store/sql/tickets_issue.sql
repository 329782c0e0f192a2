-- Gives tickets to rows. Their limits are locked, and have the capacity from here on that the newest
-- definition says.
-- per ticket: $1 tenant, $2 session, $3 seq, $4 kind, $5 name, $6 capacity, $7 whether its row starts
-- with it, $8 whether it has the oldest holder cancelled
with input as materialized (
    select i.*, s.rank, v.name as workflow, v.created_at as defined_at, clock() as at
      from unnest($1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::text[], $6::int[],
                  $7::bool[], $8::bool[]) with ordinality
           as i (tenant_id, session_id, seq, kind, name, capacity, starts, ousts, n)
     cross join lateral (
           select s.version_id, s.created_at + priority_offset(s.priority) as rank
             from sessions s
            where s.tenant_id = i.tenant_id and s.id = i.session_id
            limit 1) s
     cross join lateral (
           select v.name, v.created_at from workflow_versions v
            where v.tenant_id = i.tenant_id and v.id = s.version_id
            limit 1) v
), numbered as materialized (
    select a.*, nextval('ticket_numbers') as number
      from (select tenant_id, session_id, seq, kind, count(*)::smallint as total
              from input
             group by tenant_id, session_id, seq, kind
             order by min(n)) a
), issued as (
    insert into tickets (tenant_id, session_id, seq, kind, name, rank, number, total, starts, since,
                         ousts, parked)
    select i.tenant_id, i.session_id, i.seq, i.kind, i.name, i.rank, a.number, a.total, i.starts,
           i.at, i.ousts,
           (select p.state = 3 from session_progress p
             where p.tenant_id = i.tenant_id and p.session_id = i.session_id)
      from input i
      join numbered a on a.tenant_id = i.tenant_id and a.session_id = i.session_id
                     and a.seq = i.seq and a.kind = i.kind
)
update limits l
   set capacity = n.capacity, workflow = n.workflow, defined_at = n.defined_at,
       ceiling = greatest(n.capacity, l.held)
  from (select distinct on (tenant_id, kind, name)
               tenant_id, kind, name, capacity, workflow, defined_at
          from input
         order by tenant_id, kind, name, defined_at desc, n desc) n
 where l.tenant_id = n.tenant_id and l.kind = n.kind and l.name = n.name
   and n.defined_at >= l.defined_at
   and (l.capacity, l.workflow) is distinct from (n.capacity, n.workflow)
