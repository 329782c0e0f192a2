-- Puts the mark of an archived session in its place, unless something happened to the session since
-- its file was written. $1 tenant, $2 session, $3 the number that its next event had, $4 its retry,
-- $5 where the file is, $6 the SHA-256 of it
with p as materialized (
    select state, finished_at
      from session_progress
     where tenant_id = $1 and session_id = $2
       and state >= 5 and sweep = 0 and open = 0 and next_event = $3 and retry = $4
       for update
), mark as (
    insert into archived_sessions (tenant_id, id, title, workflow, version, state, created_at,
                                   finished_at, archived_at, location, digest, deleted,
                                   forked_from, parent_id)
    select s.tenant_id, s.id, s.title, v.name, v.version, p.state, s.created_at, p.finished_at,
           clock(), $5, $6, s.deleted_at is not null, s.forked_from, s.parent_id
      from p
     cross join lateral (
           select * from sessions where tenant_id = $1 and id = $2 limit 1) s
     cross join lateral (
           select v.name, v.version from workflow_versions v
            where v.tenant_id = $1 and v.id = s.version_id
            limit 1) v
    returning tenant_id, id
), session as (
    delete from sessions s
     using mark m
     where s.tenant_id = m.tenant_id and s.id = m.id
), key as (
    delete from idempotency_keys k
     using mark m
     where k.tenant_id = m.tenant_id and k.session_id = m.id
)
delete from session_progress p
 using mark m
 where p.tenant_id = m.tenant_id and p.session_id = m.id
