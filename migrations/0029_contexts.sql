-- What tasks, agents and people share: trees of values, with every change that made them.
create table contexts (
    tenant_id  uuid        not null,
    -- The order of context::Scope: 0 session, 1 agent, 2 global, 3 temporary.
    scope      smallint    not null,
    -- That of a session is its id.
    name       text        not null,
    data       jsonb       not null default '{}',
    -- How often it was changed.
    version    bigint      not null default 0,
    created_at timestamptz not null default clock(),
    updated_at timestamptz not null default clock(),
    updated_by text,
    expires_at timestamptz,
    -- Of a session: what its tasks wrote is in it up to this event.
    folded_to  integer     not null default 0,
    constraint contexts_pkey primary key (tenant_id, scope, name),
    constraint contexts_scope check (scope between 0 and 3)
);

create index contexts_expiry on contexts (tenant_id, expires_at) where expires_at is not null;

create table context_changes (
    tenant_id  uuid        not null,
    scope      smallint    not null,
    name       text        not null,
    -- What it came to by this.
    version    bigint      not null,
    at         timestamptz not null,
    actor      text        not null,
    why        text,
    -- The row whose attempt wrote it.
    seq        integer,
    attempt    integer,
    -- Places with what was there before and what is there since.
    changes    jsonb       not null,
    -- Why a task's write was not made.
    error      text,
    constraint context_changes_pkey primary key (tenant_id, scope, name, version)
);

-- What two contexts were when one was last merged into the other; the smaller of the two first.
create table context_bases (
    tenant_id   uuid     not null,
    scope       smallint not null,
    name        text     not null,
    other_scope smallint not null,
    other_name  text     not null,
    data        jsonb    not null,
    constraint context_bases_pkey primary key (tenant_id, scope, name, other_scope, other_name)
);
