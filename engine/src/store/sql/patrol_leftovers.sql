-- Sessions that ended, and of which rows of a stretch are still open, are to be swept.
-- $1 tenant, $2 session, $3 seq after which the stretch begins; $4 to $6 those of its last row
update session_progress p
   set sweep = 2
 where p.ctid = any (array(
           select q.ctid
             from (select distinct t.tenant_id, t.session_id
                     from tasks t
                    where (t.tenant_id, t.session_id, t.seq) > ($1, $2, $3)
                      and (t.tenant_id, t.session_id, t.seq) <= ($4, $5, $6)
                      and t.state < 6) o
            cross join lateral (
                  select p.ctid
                    from session_progress p
                   where p.tenant_id = o.tenant_id and p.session_id = o.session_id
                     and p.state >= 5 and p.sweep = 0
                   limit 1) q))
   and p.state >= 5 and p.sweep = 0
