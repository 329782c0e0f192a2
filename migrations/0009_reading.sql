-- What only reads need: sessions by the end of their id, and a session's log in the order of time.
-- The tenant comes last: with it in front, the planner of an empty database takes this index for
-- reading a session by its key.
create index sessions_tail on sessions ((right(id::text, 6)), tenant_id);
create index log_chunks_time on log_chunks (tenant_id, session_id, at);
