-- People: the keys they come in with, the approvals they are asked for, the signals they send.

-- The one key that spans tenants: it is how a tenant is named on the command line.
alter table tenants add constraint tenants_name unique (name);

create table keys (
    tenant_id  uuid        not null,
    id         uuid        not null,
    -- The actor of what it does.
    name       text        not null,
    -- SHA-256 of the key; the key itself is kept nowhere.
    hash       bytea       not null,
    -- The order of Role::ALL: 0 viewer, 1 operator, 2 admin.
    role       smallint    not null,
    created_by text        not null,
    created_at timestamptz not null default clock(),
    revoked_at timestamptz,
    constraint keys_pkey primary key (tenant_id, id),
    constraint keys_tenant foreign key (tenant_id) references tenants (tenant_id),
    constraint keys_role check (role between 0 and 2)
);

create unique index keys_name on keys (tenant_id, name) where revoked_at is null;
-- Who comes in brings no tenant, only the key.
create index keys_hash on keys (hash) where revoked_at is null;

-- What a task asked of people. Whether one is still open is said by its task's row: it waits
-- (state 4) for the reason `approval`, in a session that has not ended.
create table approvals (
    tenant_id    uuid        not null,
    id           uuid        not null,
    session_id   uuid        not null,
    seq          integer     not null,
    message      text        not null,
    -- Names of keys and roles; empty: every key that may submit.
    deciders     text[]      not null,
    quorum       integer     not null,
    -- The key that may not decide: it submitted the session.
    barred       text,
    -- The order of approval::Status: 0 open, 1 approved, 2 rejected, 3 expired, 4 closed.
    status       smallint    not null default 0,
    created_at   timestamptz not null,
    expires_at   timestamptz,
    -- From then on any admin may decide.
    escalated_at timestamptz,
    decided_at   timestamptz,
    constraint approvals_pkey primary key (tenant_id, id),
    constraint approvals_quorum check (quorum > 0),
    constraint approvals_status check (status between 0 and 4)
);

create index approvals_open on approvals (tenant_id, id) where status = 0;
create index approvals_task on approvals (tenant_id, session_id, seq);
-- The tenant comes last, as in sessions_tail.
create index approvals_tail on approvals ((right(id::text, 6)), tenant_id);

create table approval_votes (
    tenant_id   uuid        not null,
    approval_id uuid        not null,
    -- The name of the key.
    voter       text        not null,
    approves    boolean     not null,
    comment     text,
    at          timestamptz not null,
    constraint approval_votes_pkey primary key (tenant_id, approval_id, voter)
);

-- What tasks wait for, by name; a row counts while its task's row waits for the reason `signal`.
create table signal_waits (
    tenant_id  uuid    not null,
    session_id uuid    not null,
    seq        integer not null,
    name       text    not null,
    constraint signal_waits_pkey primary key (tenant_id, session_id, seq)
);

create table signals (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    -- From 1 in the order of their coming.
    number     integer     not null,
    name       text        not null,
    data       jsonb       not null,
    sent_by    text,
    sent_at    timestamptz not null,
    -- The client's idempotency key and the SHA-256 of what it sent with it.
    key        text,
    request    bytea,
    -- 0 kept, 1 taken by a task, 2 refused by one.
    fate       smallint    not null default 0,
    -- The task's row.
    seq        integer,
    constraint signals_pkey primary key (tenant_id, session_id, number),
    constraint signals_fate check (fate between 0 and 2 and (fate = 0) = (seq is null))
);

create index signals_kept on signals (tenant_id, session_id, name, number) where fate = 0;
create unique index signals_key on signals (tenant_id, session_id, key) where key is not null;
