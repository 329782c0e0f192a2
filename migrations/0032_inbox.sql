-- What agents ask of people, what people answer, and the rules that answer for them.

-- A row is one question: an attempt that asks the same again, because the one before was lost with its
-- worker, gets the row of the one before. It is open only while its task's row may still be waiting
-- for it: in progress, blocked for the reason `question`, or on its way back to that.
create table questions (
    tenant_id    uuid        not null,
    id           uuid        not null,
    session_id   uuid        not null,
    seq          integer     not null,
    -- The retry of the session in which it was asked: another one asks anew.
    retry        integer     not null,
    -- The attempt that asked last, and what its runtime calls the question.
    attempt      integer     not null,
    worker       uuid        not null,
    request      text        not null,
    -- SHA-256 of what is asked: by it another attempt's question is known as the same.
    digest       bytea       not null,
    -- The order of question::Kind: 0 a permission, 1 a question.
    kind         smallint    not null,
    tool         text        not null,
    -- Commands, paths or addresses that it is about.
    what         text[]      not null,
    -- Of a question: [{"text": …, "options": […]}].
    texts        jsonb       not null,
    -- The rule that said that people are to be asked; null where the workflow did.
    rule_id      uuid,
    -- Names of keys and roles; empty: every key that may submit.
    deciders     text[]      not null,
    quorum       integer     not null,
    -- What happens when nobody answers in time: 0 deny, 1 allow, 2 escalate; and how long that is.
    on_timeout   smallint    not null,
    timeout_ms   bigint      not null,
    -- The order of question::Status: 0 open, 1 answered, 2 expired, 3 closed.
    status       smallint    not null default 0,
    -- Whether it may; of a question, whether there is an answer.
    allowed      boolean,
    answers      text[],
    comment      text,
    answered_by  text,
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    -- From then on any admin may answer.
    escalated_at timestamptz,
    decided_at   timestamptz,
    -- When an agent was told the answer last.
    told_at      timestamptz,
    -- The attempt ended to wait for it without a worker: the task goes on once it is answered.
    parked       boolean     not null default false,
    constraint questions_pkey primary key (tenant_id, id),
    constraint questions_kind check (kind between 0 and 1),
    constraint questions_quorum check (quorum > 0),
    constraint questions_on_timeout check (on_timeout between 0 and 2 and timeout_ms > 0),
    constraint questions_status check (status between 0 and 3),
    constraint questions_answer check ((status in (1, 2)) = (allowed is not null))
);

create index questions_open on questions (tenant_id, id) where status = 0;
create index questions_due on questions (expires_at) where status = 0;
create index questions_task on questions (tenant_id, session_id, seq);
create index questions_parked on questions (tenant_id, session_id, seq) where parked;
-- The tenant comes last, as in sessions_tail.
create index questions_tail on questions ((right(id::text, 6)), tenant_id);
-- What suggestions of rules are made of.
create index questions_answered on questions (tenant_id, decided_at) where status = 1;

create table question_votes (
    tenant_id   uuid        not null,
    question_id uuid        not null,
    -- The name of the key.
    voter       text        not null,
    allows      boolean     not null,
    answers     text[],
    comment     text,
    at          timestamptz not null,
    constraint question_votes_pkey primary key (tenant_id, question_id, voter)
);

-- Rules: the first one that fits decides. What was removed stays, because events name it.
create table policies (
    tenant_id  uuid             not null,
    id         uuid             not null,
    -- The order; between two there is always room for another.
    position   double precision not null,
    -- Patterns, in which `*` stands for anything; null: whatever it is, or nothing.
    tool       text             not null,
    command    text,
    path       text,
    host       text,
    -- The order of PermissionAction: 0 allow, 1 deny, 2 ask.
    action     smallint         not null,
    -- Of a rule that asks: whom, how many, for how long, and what then.
    deciders   text[]           not null default '{}',
    quorum     integer          not null default 1,
    timeout_ms bigint           not null,
    on_timeout smallint         not null default 0,
    reason     text,
    created_by text             not null,
    created_at timestamptz      not null default clock(),
    removed_by text,
    removed_at timestamptz,
    constraint policies_pkey primary key (tenant_id, id),
    constraint policies_action check (action between 0 and 2),
    constraint policies_quorum check (quorum > 0),
    constraint policies_on_timeout check (on_timeout between 0 and 2 and timeout_ms > 0),
    constraint policies_removed check ((removed_by is null) = (removed_at is null))
);

create index policies_order on policies (tenant_id, position) where removed_at is null;
