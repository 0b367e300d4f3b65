-- What `openqueue bench` asks: the server that it measures, and schemas that it makes and drops.

-- name: bench_server
-- The server: its version, whether it is read-only, the user and database (quoted for a statement), whether a schema may be made.
SELECT pg_catalog.current_setting('server_version') AS version,
    pg_catalog.quote_ident(current_user::text) AS role, pg_catalog.quote_ident(pg_catalog.current_database()::text) AS database,
    pg_catalog.current_setting('transaction_read_only')::boolean AS read_only,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create;

-- name: bench_settings
-- The settings named in $1, as the server words them; those that it does not know are left out.
SELECT name::text, pg_catalog.current_setting(name) AS value FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[]);

-- name: bench_round_trip
-- Nothing: what is left is the way there and back.
SELECT 1 AS one;

-- name: bench_commit
-- The smallest transaction that has to reach the disk: a message in the write-ahead log, which nobody reads.
SELECT pg_catalog.pg_logical_emit_message(true, 'openqueue bench', '')::text AS lsn;

-- name: bench_create_schema
CREATE SCHEMA :schema;

-- name: bench_mark_schema
-- How a later run recognizes it.
COMMENT ON SCHEMA :schema IS 'openqueue bench';

-- name: bench_hold
-- Hold the schema for as long as this session lasts, if nobody does: who holds it is alive.
SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::text, 0)) AS held;

-- name: bench_let_go
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1::text, 0)) AS let_go;

-- name: bench_schemas
-- Schemas that a benchmark made in this database, and whether we may drop them.
SELECT nspname::text AS name, pg_catalog.pg_has_role(nspowner, 'USAGE') AS ours FROM pg_catalog.pg_namespace
WHERE nspname ~ '^openqueue_bench_[0-9a-f]{12}$' AND pg_catalog.obj_description(oid, 'pg_namespace') = 'openqueue bench'
ORDER BY 1;

-- name: bench_drop_schema
DROP SCHEMA IF EXISTS :schema CASCADE;

-- name: bench_counts
-- How many runs were asked for, how many of them are completed, and how many are unfinished.
SELECT (SELECT count(*) FROM :schema.run_requests) AS asked,
    (SELECT count(*) FROM :schema.attempts WHERE final AND outcome = 'completed') AS completed,
    (SELECT count(*) FROM :schema.jobs) AS unfinished;
