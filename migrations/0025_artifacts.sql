-- What attempts left besides their outputs: files of their workspaces, and what they changed in
-- repositories. The contents lie elsewhere, under their SHA-256.
create table artifacts (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    seq        integer     not null,
    attempt    integer     not null,
    worker     uuid        not null,
    -- In the workspace.
    path       text        not null,
    bytes      bigint      not null,
    sha256     bytea       not null,
    at         timestamptz not null,
    constraint artifacts_pkey primary key (tenant_id, session_id, seq, attempt, worker, path),
    constraint artifacts_content check (octet_length(sha256) = 32 and bytes >= 0)
);

create table diffs (
    tenant_id    uuid        not null,
    session_id   uuid        not null,
    seq          integer     not null,
    attempt      integer     not null,
    worker       uuid        not null,
    at           timestamptz not null,
    -- Where it lives, without user and password.
    repo         text        not null,
    base_id      text        not null,
    commit_id    text        not null,
    -- Other commits that it brings together.
    merged       text[]      not null,
    -- {files, insertions, deletions} of all of it.
    stat         jsonb       not null,
    -- [{path, status, insertions, deletions}], the first of them where there are very many.
    files        jsonb       not null,
    -- Null where nothing keeps contents.
    patch_sha256 bytea,
    patch_bytes  bigint,
    constraint diffs_pkey primary key (tenant_id, session_id, seq, attempt, worker),
    constraint diffs_patch check ((patch_sha256 is null) = (patch_bytes is null))
);
