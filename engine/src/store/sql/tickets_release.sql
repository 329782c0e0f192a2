-- Rows give up their tickets, held or not. Their limits are locked. $1 tenants, $2 sessions, $3 seqs
with gone as (
    delete from tickets t
     using unnest($1::uuid[], $2::uuid[], $3::int[]) as r (tenant_id, session_id, seq)
     where t.tenant_id = r.tenant_id and t.session_id = r.session_id and t.seq = r.seq
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
