-- Agents: what workers say of themselves, and how well those of one name did so far.
alter table workers
    -- The one session that it serves.
    add column only_session uuid,
    -- Attempts that it runs, as it said last.
    add column running      integer not null default 0,
    -- Since when it gets nothing new.
    add column drained_at   timestamptz;

create index workers_name on workers (name, id);

-- What is not looked at while work is given out; rows of workers are copied with each renewal.
create table agent_profiles (
    worker_id     uuid     not null,
    -- The order of routing::AgentType::ALL.
    kind          smallint not null,
    technologies  text[]   not null,
    avoids        text[]   not null,
    -- The order of routing::Complexity::ALL.
    complexity    smallint not null,
    -- The types of sessions that it is meant for; none: all.
    session_types text[]   not null,
    labels        jsonb    not null,
    drained_by    text,
    drain_reason  text,
    maintenance   boolean  not null default false,
    constraint agent_profiles_pkey primary key (worker_id)
);

-- One row a name, whatever the number of its starts.
create table agents (
    name          text        not null,
    registered_at timestamptz not null,
    -- routing::Performance and routing::Breaker.
    performance   jsonb       not null default '{}',
    breaker       jsonb       not null default '{}',
    folded_at     timestamptz,
    -- Workers that register under the name are drained from the beginning.
    drained_at    timestamptz,
    drained_by    text,
    drain_reason  text,
    maintenance   boolean     not null default false,
    constraint agents_pkey primary key (name)
) with (fillfactor = 50);

create index agents_registered on agents (registered_at);

-- Tasks that are assigned: for a while one worker alone may take them.
create table offers (
    tenant_id  uuid             not null,
    session_id uuid             not null,
    seq        integer          not null,
    worker_id  uuid             not null,
    -- What spoke for it.
    score      double precision not null,
    offered_at timestamptz      not null,
    until      timestamptz      not null,
    constraint offers_pkey primary key (tenant_id, session_id, seq)
);

create index offers_worker on offers (worker_id, until);
