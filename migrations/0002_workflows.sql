-- Tenants, and what they define. A plan is compiled once per version; its rows are copied into
-- every session inside the server.
create table tenants (
    tenant_id  uuid        not null,
    name       text        not null,
    created_at timestamptz not null default clock(),
    constraint tenants_pkey primary key (tenant_id)
);

insert into tenants (tenant_id, name) values ('00000000-0000-0000-0000-000000000001', 'default');

create table workflows (
    tenant_id  uuid        not null,
    name       text        not null,
    -- The version that its name stands for; null while nothing was applied under this name.
    applied    integer,
    -- The number of the newest version.
    latest     integer     not null,
    created_at timestamptz not null default clock(),
    updated_at timestamptz not null default clock(),
    constraint workflows_pkey primary key (tenant_id, name)
);

create table workflow_versions (
    tenant_id  uuid        not null,
    id         uuid        not null,
    name       text        not null,
    version    integer     not null,
    -- SHA-256 of the definition as it was written.
    hash       bytea       not null,
    definition text        not null,
    plan       jsonb       not null,
    created_at timestamptz not null default clock(),
    constraint workflow_versions_pkey primary key (tenant_id, id),
    constraint workflow_versions_number unique (tenant_id, name, version),
    constraint workflow_versions_content unique (tenant_id, name, hash),
    constraint workflow_versions_workflow foreign key (tenant_id, name) references workflows (tenant_id, name)
);

-- A route is an interned set of required capabilities: the unit of queueing.
create table routes (
    tenant_id    uuid        not null,
    id           integer     not null generated always as identity,
    -- Sorted, without repetition.
    capabilities text[]      not null,
    constraint routes_pkey primary key (tenant_id, id),
    constraint routes_capabilities unique (tenant_id, capabilities)
);

-- The rows of each block of a plan.
create table plan_tasks (
    tenant_id  uuid     not null,
    version_id uuid     not null,
    block      integer  not null,
    position   integer  not null,
    node       integer  not null,
    -- Position of the enclosing group in the block; null at the top of the block.
    parent     integer,
    route      integer  not null,
    -- Null takes the session's.
    priority   smallint,
    flags      smallint not null,
    blockers   integer  not null,
    -- Positions in the block.
    dependents integer[],
    constraint plan_tasks_pkey primary key (tenant_id, version_id, block, position)
);
