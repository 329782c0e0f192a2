-- Agents that converse: their transcripts, their checkpoints, and what people say to them.
alter table log_chunks
    drop constraint log_chunks_stream,
    -- 3: what is said in a conversation with an agent, a JSON object a line.
    add constraint log_chunks_stream check (stream between 0 and 3);

create table checkpoints (
    tenant_id       uuid        not null,
    session_id      uuid        not null,
    -- From 1 in its session.
    number          integer     not null,
    -- The row of the task, and the attempt that made it.
    seq             integer     not null,
    attempt         integer     not null,
    worker          uuid        not null,
    at              timestamptz not null,
    -- The session's event that tells of it: those before say what state every task was in.
    event           integer     not null,
    -- The order of checkpoint::Cause::ALL: 0 a step of the agent, 1 its turn ended, 2 it was stopped.
    cause           smallint    not null,
    runtime         text        not null,
    conversation    text        not null,
    -- Whose pieces of agent_history tell the conversation, and how many of them; none: it is lost.
    history_attempt integer,
    history_worker  uuid,
    pieces          integer     not null,
    -- The workspace, in its repository; null where it is no clone.
    commit_id       text,
    base_id         text,
    spend           jsonb       not null,
    -- An attempt at this task goes on here: the one that made it did not end by itself.
    open            boolean     not null default true,
    constraint checkpoints_pkey primary key (tenant_id, session_id, number),
    constraint checkpoints_cause check (cause between 0 and 2)
);

create index checkpoints_task on checkpoints (tenant_id, session_id, seq, number);

-- What was said in conversations, in the words of the agent's runtime, packed.
create table agent_history (
    tenant_id  uuid    not null,
    session_id uuid    not null,
    seq        integer not null,
    attempt    integer not null,
    worker     uuid    not null,
    piece      integer not null,
    body       bytea   not null,
    constraint agent_history_pkey primary key (tenant_id, session_id, seq, attempt, worker, piece)
);

-- What people say to running agents.
create table agent_messages (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    id         uuid        not null,
    seq        integer     not null,
    body       text        not null,
    sent_by    text,
    at         timestamptz not null,
    -- When the agent was told last.
    heard_at   timestamptz,
    constraint agent_messages_pkey primary key (tenant_id, session_id, id)
);

create index agent_messages_task on agent_messages (tenant_id, session_id, seq, id);
