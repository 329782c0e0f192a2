-- Rows that a worker which ended still holds although no receipt of it is left: there should be
-- none. This reads the whole table, so it is asked rarely.
select t.tenant_id, t.session_id, t.seq, t.attempt, t.crashes,
       t.noted >= t.attempt as "started!", w.id as worker
  from workers w
  join tasks t on t.worker = w.id and t.state = 3
  join session_progress p on p.tenant_id = t.tenant_id and p.session_id = t.session_id
 where w.swept and p.state < 5
 limit 1000
