-- Workers and what each may still hold. Not tenant data: a worker serves every tenant.
create table workers (
    id           uuid        not null,
    name         text        not null,
    host         text        not null,
    pid          integer     not null,
    capabilities text[]      not null,
    concurrency  integer     not null,
    version      text        not null,
    data_dir     text,
    started_at   timestamptz not null,
    lease_until  timestamptz not null,
    ended_at     timestamptz,
    -- A swept worker left nothing behind.
    swept        boolean     not null default false,
    constraint workers_pkey primary key (id)
) with (fillfactor = 50);

create index workers_live on workers (lease_until) where ended_at is null;
create index workers_swept on workers (ended_at) where swept;
create index workers_unswept on workers (ended_at) where ended_at is not null and not swept;

-- One row per claim batch (rows given) or per session of hand-offs (rows null): what the reaper
-- looks at when the worker is dead.
create table receipts (
    worker_id uuid        not null,
    id        uuid        not null default gen_random_uuid(),
    at        timestamptz not null,
    tenants   uuid[]      not null,
    sessions  uuid[]      not null,
    seqs      integer[],
    constraint receipts_pkey primary key (worker_id, id)
);
