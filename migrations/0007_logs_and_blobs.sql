-- What attempts print, a stream per fence with a single writer.
create table log_chunks (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    seq        integer     not null,
    attempt    integer     not null,
    worker     uuid        not null,
    chunk      integer     not null,
    -- 0 standard output, 1 standard error, 2 Jobshop itself.
    stream     smallint    not null,
    at         timestamptz not null,
    body       bytea       not null,
    constraint log_chunks_pkey primary key (tenant_id, session_id, seq, attempt, worker, chunk),
    constraint log_chunks_stream check (stream between 0 and 2)
);

-- Payloads over 8 KiB, once per content.
create table blobs (
    tenant_id  uuid        not null,
    hash       bytea       not null,
    body       jsonb       not null,
    created_at timestamptz not null default clock(),
    constraint blobs_pkey primary key (tenant_id, hash)
);
