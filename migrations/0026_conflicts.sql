-- Tasks of a session whose changes cannot be merged with one another, or with the branch they are
-- meant for, as of the last look.
create table conflicts (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    -- Of two tasks the one with the lower number; 0 stands for the branch.
    low_seq    integer     not null,
    high_seq   integer     not null,
    -- The branch, where it is one.
    branch     text,
    low_commit text        not null,
    high_commit text       not null,
    files      text[]      not null,
    at         timestamptz not null,
    constraint conflicts_pkey primary key (tenant_id, session_id, low_seq, high_seq),
    constraint conflicts_order check (low_seq < high_seq and (low_seq = 0) = (branch is not null))
);
