-- What Jobshop itself tells tasks that wait for it is looked for all the time; it is taken out once told.
create index signal_waits_gates on signal_waits (tenant_id, session_id, seq) where name like 'jobshop/%';
