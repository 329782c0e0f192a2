-- How often a tenant has its turn when several have work: one of weight 3 starts three tasks for each
-- that one of weight 1 starts.
alter table tenants
    add column weight smallint not null default 1,
    add constraint tenants_weight check (weight between 1 and 100);
