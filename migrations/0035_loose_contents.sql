-- Contents of files that tasks left, once something that named one is gone: they are removed when
-- nothing else names them.
create table loose_contents (
    tenant_id uuid        not null,
    sha256    bytea       not null,
    -- Since when it is in this state.
    since     timestamptz not null,
    -- 0 let go, 1 just being removed, 2 removed
    state     smallint    not null,
    constraint loose_contents_pkey primary key (tenant_id, sha256),
    constraint loose_contents_state check (octet_length(sha256) = 32 and state between 0 and 2)
);
create index loose_contents_due on loose_contents (state, since);

-- Who else names a content.
create index artifacts_content on artifacts (tenant_id, sha256);
create index diffs_content on diffs (tenant_id, patch_sha256) where patch_sha256 is not null;

-- Who goes on with commits of an archived session.
create index sessions_forked on sessions (tenant_id, forked_from) where forked_from is not null;

alter table archived_sessions
    add column forked_from uuid,
    add column parent_id   uuid;
