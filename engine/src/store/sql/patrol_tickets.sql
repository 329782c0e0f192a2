-- Limits with tickets of rows that have ended.
select distinct t.tenant_id as tenant, t.kind, t.name
  from tickets t
 where case when t.kind = 1
            then exists (select from session_progress p
                          where p.tenant_id = t.tenant_id and p.session_id = t.session_id
                            and p.state >= 5)
            else not exists (select from tasks r
                              where r.tenant_id = t.tenant_id and r.session_id = t.session_id
                                and r.seq = t.seq and r.state < 6) end
 order by t.tenant_id, t.kind, t.name
 limit 100
