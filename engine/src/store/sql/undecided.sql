-- Rows that the control loop has to decide. A look-up by key that is limited to one row stays one,
-- whatever the planner thinks of the tables. $1 rows at most
select t.tenant_id, t.session_id, t.seq, t.node, t.flags, t.state, t.blockers, t.bad,
       t.attempt, t.reason, t.error, p.retry, t.started_at is not null as "begun!",
       (extract(epoch from t.wake_at - clock()) * 1000)::int8 as left_ms
  from tasks t
 cross join lateral (
       select p.state, p.sweep, p.retry
         from session_progress p
        where p.tenant_id = t.tenant_id and p.session_id = t.session_id
        limit 1) p
 where t.undecided and p.state in (1, 2, 4) and p.sweep = 0
 order by t.tenant_id, t.session_id, t.seq
 limit $1
