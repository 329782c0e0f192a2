-- The only source of time. Volatile on purpose: now() is the start of the transaction, so a
-- statement that waited for a lock would write a time older than what its rival committed.
-- A test freezes or moves its own database by replacing this function.
create function clock() returns timestamptz
language sql volatile
as 'select clock_timestamp()';
