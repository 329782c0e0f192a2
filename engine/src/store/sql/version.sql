-- A workflow version with its plan. $1 tenant, $2 id
select version, plan as "plan: sqlx::types::Json<Plan>"
  from workflow_versions
 where tenant_id = $1 and id = $2
