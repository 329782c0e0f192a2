-- Rows that templates refer to. $1 tenants, $2 sessions, $3 seqs
select k.slot as "slot!", t.node, t.parent, t.state, t.flags,
       coalesce(t.output, b.body)::text as output, t.error, t.item_key, t.item
  from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
       as k (tenant_id, session_id, seq, slot)
  join tasks t on t.tenant_id = k.tenant_id and t.session_id = k.session_id
              and t.seq = k.seq
  left join blobs b on b.tenant_id = t.tenant_id and b.hash = t.output_blob
