-- Where the rows of fan-outs stand. $1 tenants, $2 sessions, $3 seqs of their groups
select k.slot as "slot!", e.base, e.block_rows, e.laid, e.rounds
  from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
       as k (tenant_id, session_id, seq, slot)
  join expansions e on e.tenant_id = k.tenant_id and e.session_id = k.session_id
                   and e.seq = k.seq
