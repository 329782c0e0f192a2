-- The routes that these capabilities ($1) can serve.
select id from routes
 where capabilities <@ $1 or '*' = any($1)
 order by id limit 10000
