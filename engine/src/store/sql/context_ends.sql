-- Completions that the context of a session does not know yet, in their order. $1 tenant, $2 session,
-- $3 the last event that it knows, $4 the kind of event, $5 nodes that write into it, $6 how many
select e.first_seq + k.n::int - 1 as "number!", t.seq, t.node, t.attempt, k.at as "at!",
       coalesce(t.output, b.body)::text as output
  from events e
 cross join lateral unnest(e.kinds, e.tasks, e.ats) with ordinality as k (kind, task, at, n)
  join tasks t on t.tenant_id = e.tenant_id and t.session_id = e.session_id and t.seq = k.task
  left join blobs b on b.tenant_id = t.tenant_id and b.hash = t.output_blob
 where e.tenant_id = $1 and e.session_id = $2
   -- Rows follow each other: the one before the next event may hold it too.
   and e.first_seq >= coalesce((select max(first_seq) from events
                                 where tenant_id = $1 and session_id = $2
                                   and first_seq <= $3 + 1), 0)
   and e.first_seq + k.n - 1 > $3
   and k.kind = $4 and t.node = any($5::int[])
   -- Of a task that ran again since, only the last end counts.
   and t.state = 6 and t.finished_at = k.at
 order by 1
 limit $6
