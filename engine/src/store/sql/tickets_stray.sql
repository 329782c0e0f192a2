-- Forgets tickets of rows that neither wait nor hold: whoever ended them did not say so. Their limits
-- are locked, so no row begins to wait meanwhile. $1 tenants, $2 kinds, $3 names, $4 the reason of
-- rows that wait
with gone as (
    delete from tickets t
     using unnest($1::uuid[], $2::smallint[], $3::text[]) as k (tenant_id, kind, name)
     where t.tenant_id = k.tenant_id and t.kind = k.kind and t.name = k.name
       and case when t.kind = 1
                then not exists (select from session_progress p
                                  where p.tenant_id = t.tenant_id and p.session_id = t.session_id
                                    and p.state between 1 and 4 and (t.held or p.sweep = -1))
                else not exists (select from tasks r
                                  where r.tenant_id = t.tenant_id and r.session_id = t.session_id
                                    and r.seq = t.seq and r.state < 6
                                    and (t.held or (r.state = 4 and r.reason = $4)
                                         or (r.state = 5 and r.was_reason = $4))) end
    returning t.tenant_id, t.kind, t.name, t.held
), freed as (
    select tenant_id, kind, name, count(*)::int as count
      from gone
     where held
     group by tenant_id, kind, name
)
update limits l
   set held = l.held - f.count, ceiling = greatest(l.capacity, l.held - f.count)
  from freed f
 where l.tenant_id = f.tenant_id and l.kind = f.kind and l.name = f.name
