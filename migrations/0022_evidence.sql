-- What workers saw with their own eyes of what tasks made, signed.
alter table workers
    -- Ed25519; what it signed can be checked with it.
    add column public_key bytea;

create table evidence (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    seq        integer     not null,
    attempt    integer     not null,
    worker     uuid        not null,
    -- From 1 in its attempt: an agent may get more turns.
    round      integer     not null,
    at         timestamptz not null,
    commit_id  text,
    passed     boolean     not null,
    -- JSON, the bytes that were signed.
    statement  text        not null,
    signature  bytea       not null,
    public_key bytea       not null,
    constraint evidence_pkey primary key (tenant_id, session_id, seq, attempt, worker, round)
);
