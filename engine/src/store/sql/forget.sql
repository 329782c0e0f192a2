-- Deletes receipts ($2) of a worker ($1).
delete from receipts where worker_id = $1 and id = any($2)
