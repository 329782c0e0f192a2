-- The gates before providers' models, which all workers share. A row is made when the first turn asks.
create table providers (
    provider   text             not null,
    account    text             not null,
    model      text             not null,
    -- What a minute brings; null is not limited.
    turns_per_minute  integer,
    tokens_per_minute bigint,
    -- What is in the buckets.
    turns      double precision not null,
    tokens     double precision not null,
    filled_at  timestamptz      not null,
    -- 0 closed, 1 open, 2 recovering.
    breaker    smallint         not null default 0,
    open_until timestamptz,
    refusals   integer          not null default 0,
    room       integer          not null default 0,
    under_way  integer          not null default 0,
    granted_at timestamptz,
    -- For people: what came of it so far.
    begun      bigint           not null default 0,
    refused    bigint           not null default 0,
    refused_at timestamptz,
    updated_by text,
    constraint providers_pkey primary key (provider, account, model),
    constraint providers_quota check (turns_per_minute > 0 and tokens_per_minute > 0),
    constraint providers_breaker check (breaker between 0 and 2)
) with (fillfactor = 50);
