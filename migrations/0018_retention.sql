-- What archiving needs to find its work without reading what is kept.
create index workflow_versions_retention on workflow_versions (tenant_id) where retention_ms is not null;

alter table archived_sessions
    -- It had been deleted: it is hidden from every list and look-up.
    add column deleted boolean not null default false;

create index idempotency_keys_session on idempotency_keys (tenant_id, session_id);
