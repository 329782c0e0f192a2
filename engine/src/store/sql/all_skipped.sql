-- Which of these items hold nothing that was not skipped.
select k.slot as "slot!"
  from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
       as k (tenant_id, session_id, seq, slot)
  join tasks i on i.tenant_id = k.tenant_id and i.session_id = k.session_id
              and i.seq = k.seq
  join expansions e on e.tenant_id = i.tenant_id and e.session_id = i.session_id
                   and e.seq = i.parent
 where not exists (select from tasks c
                    where c.tenant_id = k.tenant_id and c.session_id = k.session_id
                      and c.seq > k.seq and c.seq < k.seq + e.block_rows
                      and c.parent = k.seq and c.state <> 9)
