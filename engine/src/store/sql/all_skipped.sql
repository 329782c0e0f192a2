-- Which of these items hold nothing that was not skipped. A look-up by key that is limited to one
-- row stays one, whatever the planner thinks of the tables.
select k.slot as "slot!"
  from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
       as k (tenant_id, session_id, seq, slot)
 cross join lateral (
       select i.parent
         from tasks i
        where i.tenant_id = k.tenant_id and i.session_id = k.session_id and i.seq = k.seq
        limit 1) i
 cross join lateral (
       select e.block_rows
         from expansions e
        where e.tenant_id = k.tenant_id and e.session_id = k.session_id and e.seq = i.parent
        limit 1) e
 where not exists (select from tasks c
                    where c.tenant_id = k.tenant_id and c.session_id = k.session_id
                      and c.seq > k.seq and c.seq < k.seq + e.block_rows
                      and c.parent = k.seq and c.state <> 9)
