-- What changes in sessions and templates may read. $1 tenants, $2 ids
select k.slot as "slot!", p.retry, p.started_at, p.result, p.inputs
  from unnest($1::uuid[], $2::uuid[]) with ordinality as k (tenant_id, session_id, slot)
  join session_progress p on p.tenant_id = k.tenant_id and p.session_id = k.session_id
