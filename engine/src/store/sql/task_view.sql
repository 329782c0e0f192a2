select t.seq, t.node, t.parent, t.flags, t.item_key, t.route, t.priority, t.state, t.reason,
       t.blockers, t.undecided, t.attempt, t.failures, t.crashes, t.rank, t.wake_at,
       w.name as "worker?",
       w.lease_until as "lease_until?",
       t.output, t.output_blob,
       t.error as "error: sqlx::types::Json<Failure>",
       coalesce(t.created_at, s.created_at) as "created_at!",
       t.ready_at, t.started_at, t.finished_at
  from tasks t
  join sessions s on s.tenant_id = t.tenant_id and s.id = t.session_id
  left join workers w on w.id = coalesce(t.worker, t.last_worker)
 where t.tenant_id = $1 and t.session_id = $2 and t.seq > $3
   and ($4::smallint[] is null or t.state = any($4))
 order by t.seq
 limit $5
