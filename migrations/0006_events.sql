-- What happened, several transitions in one row. Event first_seq + n - 1 is the n-th element of
-- each array.
create table events (
    tenant_id  uuid          not null,
    session_id uuid          not null,
    first_seq  integer       not null,
    last_seq   integer       not null,
    at         timestamptz   not null,
    kinds      smallint[]    not null,
    tasks      integer[]     not null,
    attempts   integer[]     not null,
    ats        timestamptz[] not null,
    -- Null where no event of the row says more than its kind.
    bodies     jsonb[],
    actor      text,
    xid        xid8          not null default pg_current_xact_id(),
    constraint events_pkey primary key (tenant_id, session_id, first_seq),
    constraint events_count check (cardinality(kinds) = last_seq - first_seq + 1)
);

create index events_feed on events (tenant_id, xid, session_id, first_seq);
