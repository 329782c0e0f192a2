-- What only reads need: sessions by the end of their id, and a session's log in the order of time.
create index sessions_tail on sessions (tenant_id, (right(id::text, 6)));
create index log_chunks_time on log_chunks (tenant_id, session_id, at);
