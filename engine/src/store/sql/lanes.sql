-- The routes that these capabilities ($1) can serve, with the tenants whose they are, unless the
-- worker ($2) is drained. A look-up by key
-- that is limited to one row stays one, whatever the planner thinks of the tables.
select r.id, r.tenant_id, coalesce(t.weight, 1::smallint) as "weight!"
  from routes r
  left join lateral (
       select t.weight from tenants t
        where t.tenant_id = r.tenant_id
        limit 1) t on true
 where (r.capabilities <@ $1 or '*' = any($1))
   and not exists (select from workers w where w.id = $2 and w.drained_at is not null)
 order by r.id limit 10000
