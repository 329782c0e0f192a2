-- The books of budgets. Whoever changes an account holds the row of its session in session_progress,
-- so accounts are never waited for in an order of their own. Amounts are tokens, micro-dollars and
-- milliseconds, in this order.
create table budgets (
    tenant_id   uuid     not null,
    session_id  uuid     not null,
    -- The row of the task or group; 0: the session itself. Every session with budgets has that.
    seq         integer  not null,
    -- The session at the root of the tree.
    root_id     uuid     not null,
    -- Of the task or group, as users read it; empty for the session.
    name        text     not null,
    -- Null is not limited.
    limits      bigint[] not null,
    -- What attempts put aside that say nothing themselves; null where nothing limits it.
    shares      bigint[] not null,
    -- 0 pause, 1 fail.
    on_exceed   smallint not null,
    -- Put aside for attempts, and as credit of child sessions.
    reserved    bigint[] not null default '{0,0,0}',
    spent       bigint[] not null default '{0,0,0}',
    -- Of a child session: put aside above for it, and what it spent and told.
    credit      bigint[],
    told        bigint[],
    -- The accounts above it: their session, and their rows from the inside out.
    above_id    uuid,
    above_seqs  integer[],
    -- Of the session itself: 1 what waits has to be looked at; 2 something came free.
    due         smallint not null default 0,
    -- Attempts of which it is not known what they took, or what that cost: what they had put aside
    -- counts.
    unmetered   integer  not null default 0,
    unpriced    integer  not null default 0,
    constraint budgets_pkey primary key (tenant_id, session_id, seq),
    constraint budgets_limits check (cardinality(limits) = 3 and cardinality(shares) = 3
                                     and (0 <= all (limits)) is not false),
    constraint budgets_reserved check (cardinality(reserved) = 3 and 0 <= all (reserved)),
    constraint budgets_spent check (cardinality(spent) = 3 and 0 <= all (spent)),
    constraint budgets_slice check ((credit is null) = (told is null)
                                    and (credit is null) = (above_id is null)
                                    and (credit is null) = (above_seqs is null)
                                    and (credit is null
                                         or (seq = 0 and cardinality(credit) = 3
                                             and cardinality(told) = 3 and 0 <= all (credit)
                                             and 0 <= all (told)))),
    constraint budgets_on_exceed check (on_exceed between 0 and 1),
    constraint budgets_due check (due between 0 and 2)
) with (fillfactor = 50);

create index budgets_due on budgets (tenant_id, session_id) where due > 0;

create index budgets_tree on budgets (tenant_id, root_id);

-- What tasks have put aside, or wait to.
create table reservations (
    tenant_id  uuid      not null,
    session_id uuid      not null,
    seq        integer   not null,
    root_id    uuid      not null,
    -- Its accounts in its session, from the inside out.
    accounts   integer[] not null,
    most       bigint[]  not null,
    strict     boolean[] not null,
    -- Its work is an agent's: that takes tokens, whether it says so or not.
    agent      boolean   not null,
    -- The order of those who wait.
    number     bigint    generated always as identity,
    asked_at   timestamptz not null default clock(),
    -- An event said that it waits.
    said       boolean   not null default false,
    held       boolean   not null default false,
    amounts    bigint[]  not null default '{0,0,0}',
    -- Of the attempt that began with it: who, when, by which model, what it is known to have taken.
    attempt    integer,
    worker     uuid,
    begun_at   timestamptz,
    model      text,
    spend      jsonb,
    constraint reservations_pkey primary key (tenant_id, session_id, seq),
    constraint reservations_amounts check (cardinality(amounts) = 3 and 0 <= all (amounts)
                                           and (held or amounts = '{0,0,0}')),
    constraint reservations_most check (cardinality(most) = 3 and cardinality(strict) = 3
                                        and 0 <= all (most))
) with (fillfactor = 50);

create index reservations_waiting on reservations (tenant_id, root_id, number) where not held;

-- What was settled: what each account has spent is the sum of these, and of nothing else.
create table spends (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    seq        integer     not null,
    number     bigint      generated always as identity,
    attempt    integer     not null,
    at         timestamptz not null default clock(),
    accounts   integer[]   not null,
    model      text,
    amounts    bigint[]    not null,
    unmetered  boolean     not null default false,
    unpriced   boolean     not null default false,
    constraint spends_pkey primary key (tenant_id, session_id, seq, number),
    constraint spends_amounts check (cardinality(amounts) = 3 and 0 <= all (amounts))
);

-- What models cost, by the operator: micro-dollars for a million tokens of each kind.
create table prices (
    tenant_id   uuid        not null,
    model       text        not null,
    since       timestamptz not null,
    input       bigint      not null,
    output      bigint      not null,
    reasoning   bigint,
    cache_read  bigint,
    cache_write bigint,
    set_by      text,
    set_at      timestamptz not null default clock(),
    constraint prices_pkey primary key (tenant_id, model, since),
    constraint prices_amounts check (input >= 0 and output >= 0
                                     and coalesce(reasoning, 0) >= 0
                                     and coalesce(cache_read, 0) >= 0
                                     and coalesce(cache_write, 0) >= 0)
);

-- A session above has budgets that its tasks draw from.
alter table sessions add column funded boolean not null default false;
