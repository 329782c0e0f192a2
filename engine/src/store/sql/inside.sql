-- What is open inside a group. $1 tenant, $2 session, $3 the group
with recursive inner_rows as (
    select t.seq, t.attempt, t.state from tasks t
     where t.tenant_id = $1 and t.session_id = $2 and t.parent = $3 and t.seq > $3
     union all
    select t.seq, t.attempt, t.state from tasks t
      join inner_rows i on t.parent = i.seq
     where t.tenant_id = $1 and t.session_id = $2 and t.seq > i.seq
)
select seq as "seq!", attempt as "attempt!", state as "state!" from inner_rows
 where state < 6 order by seq
