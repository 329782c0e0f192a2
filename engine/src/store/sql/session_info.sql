-- What never changes in sessions. $1 tenants, $2 ids
select k.slot as "slot!", s.version_id, s.title, s.inputs, s.file_dir, s.funded
  from unnest($1::uuid[], $2::uuid[]) with ordinality as k (tenant_id, id, slot)
  join sessions s on s.tenant_id = k.tenant_id and s.id = k.id
