-- What `openqueue doctor` reads: the server, the schema, and what goes on in it. Nothing here waits for a lock of the engine's tables
-- longer than the caller lets it, and nothing counts history. Ages are seconds. What a session does is shown to those who may see it
-- (pg_read_all_stats); to others the query is a remark, and the age is missing.

-- name: doctor_pid
-- The session of the server's that answers: behind a pooler it is not the one that the client was told of.
SELECT pg_catalog.pg_backend_pid() AS pid;

-- name: doctor_server
-- The server, its sessions (of all databases) and how many it has room for, and how far this database is from being frozen.
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS standby,
    pg_catalog.current_setting('transaction_read_only')::boolean AS read_only, current_user::text AS role,
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
    (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'client backend') AS sessions,
    pg_catalog.current_setting('max_connections')::integer
        - pg_catalog.current_setting('superuser_reserved_connections')::integer AS room,
    (SELECT pg_catalog.age(d.datfrozenxid) FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AS frozen_age;

-- name: doctor_settings
-- The server's settings as they hold for this user in this database.
SELECT name::text, setting, unit, source, pg_catalog.current_database()::text AS database FROM pg_catalog.pg_settings WHERE name IN (
    'fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum', 'track_counts', 'default_transaction_isolation',
    'statement_timeout', 'lock_timeout', 'idle_session_timeout', 'transaction_timeout');

-- name: doctor_rights
-- $1 functions · $2 tables, with the right that is needed of each at the same place in $3. One row a thing that is there: whether
-- this user may use it. definer: the function runs with its owner's rights.
SELECT 'schema' AS kind, n.nspname::text AS name, 'USAGE' AS needed, pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may,
    false AS definer
FROM pg_catalog.pg_namespace n WHERE n.nspname = :'schema'
UNION ALL
SELECT 'function', p.proname::text, 'EXECUTE', pg_catalog.has_function_privilege(p.oid, 'EXECUTE'), p.prosecdef
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = :'schema' AND p.proname = ANY ($1::text[])
UNION ALL
SELECT 'table', c.relname::text, u.needed, pg_catalog.has_table_privilege(c.oid, u.needed), false
FROM unnest($2::text[], $3::text[]) AS u (name, needed)
JOIN pg_catalog.pg_class c ON c.relname = u.name
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = :'schema';

-- name: doctor_waiting
-- Unfinished runs of namespace $1 by task and queue, among the first $2 of them: how many, how many of those are ready, blocked and
-- retrying, and how long the first of the ready ones has waited. capped: there are more.
WITH looked AS MATERIALIZED (
    SELECT j.task, j.queue, j.state, j.run_at, j.group_key FROM :schema.jobs j WHERE j.namespace = $1::text LIMIT $2::integer)
SELECT l.task, l.queue, count(*) AS jobs, count(*) FILTER (WHERE l.state IN ('q', 'c')) AS ready,
    count(*) FILTER (WHERE l.state = 'b') AS blocked, count(*) FILTER (WHERE l.state = 't') AS retrying,
    count(*) FILTER (WHERE l.state = 'r') AS running,
    extract(epoch FROM clock_timestamp() - min(l.run_at) FILTER (WHERE l.state = 'q'))::float8 AS oldest,
    (SELECT count(*) FROM looked) = $2::integer AS capped
FROM looked l GROUP BY l.task, l.queue ORDER BY l.queue, l.task;

-- name: doctor_leader
SELECT l.holder, l.pid, w.name, l.expires_at > clock_timestamp() AS valid,
    extract(epoch FROM clock_timestamp() - l.expires_at)::float8 AS expired
FROM :schema.leader l LEFT JOIN :schema.workers w ON w.id = l.holder WHERE l.namespace = $1::text;

-- name: doctor_suspects
-- Workers whose liveness lock is free, although they have not said goodbye: since when.
SELECT w.name, extract(epoch FROM clock_timestamp() - w.suspected_at)::float8 AS suspected
FROM :schema.workers w WHERE w.namespace = $1::text AND w.suspected_at IS NOT NULL ORDER BY w.name;

-- name: doctor_schedules
-- late: how long ago its next tick should have been decided.
SELECT s.key, s.task, s.source, s.invalid, s.cron, s.every, s.timezone, s.start_at, s.end_at, s.last_error, s.paused_until > clock_timestamp() AS paused, s.pause_reason,
    extract(epoch FROM clock_timestamp() - s.failed_at)::float8 AS failed,
    extract(epoch FROM clock_timestamp() - s.next_at)::float8 AS late,
    extract(epoch FROM clock_timestamp() - s.seen_at)::float8 AS unseen,
    s.concurrency_key
FROM :schema.schedules s WHERE s.namespace = $1::text ORDER BY s.key;

-- name: doctor_dead_rows
-- unattended: autovacuum was turned off for this table.
SELECT t.relname::text AS name, t.n_live_tup AS live, t.n_dead_tup AS dead,
    extract(epoch FROM clock_timestamp() - GREATEST(t.last_autovacuum, t.last_vacuum))::float8 AS vacuumed,
    pg_catalog.pg_table_size(t.relid) AS bytes,
    EXISTS (SELECT FROM pg_catalog.pg_class c, pg_catalog.pg_options_to_table(c.reloptions) o
            WHERE c.oid = t.relid AND o.option_name = 'autovacuum_enabled' AND NOT o.option_value::boolean) AS unattended
FROM pg_catalog.pg_stat_user_tables t
WHERE t.schemaname = :'schema' AND t.relname !~ '^(run_requests|attempts|run_log)' ORDER BY t.n_dead_tup DESC;

-- name: doctor_transactions
-- What keeps VACUUM from removing dead rows of this database, the oldest first: sessions, prepared transactions, replication slots,
-- standbys. xids: how many transactions have begun since.
SELECT 'session' AS kind, a.pid::text AS name, a.usename::text AS role, a.application_name AS application, a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age, left(a.query, 300) AS query,
    GREATEST(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)) AS xids
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
  AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
UNION ALL
SELECT 'prepared', p.gid, p.owner::text, NULL, NULL, extract(epoch FROM clock_timestamp() - p.prepared)::float8, NULL, pg_catalog.age(p.transaction)
FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()
UNION ALL
SELECT 'slot', s.slot_name::text, NULL, s.plugin::text, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL, pg_catalog.age(s.xmin)
FROM pg_catalog.pg_replication_slots s WHERE s.xmin IS NOT NULL
UNION ALL
SELECT 'standby', r.pid::text, r.usename::text, r.application_name, r.state, NULL, NULL, pg_catalog.age(r.backend_xmin)
FROM pg_catalog.pg_stat_replication r WHERE r.backend_xmin IS NOT NULL
ORDER BY age DESC NULLS LAST, xids DESC LIMIT 20;

-- name: doctor_notify_queue
-- How full the queue of notifications is, which all databases of the server share, and the five sessions that have been in a
-- transaction for the longest time: one that listens and stays in it keeps the queue from being emptied, and no view shows who listens.
SELECT pg_catalog.pg_notification_queue_usage() AS usage, a.pid, a.application_name AS application, a.state, a.datname::text AS database,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age, left(a.query, 300) AS query
FROM (SELECT 1) one
LEFT JOIN LATERAL (SELECT * FROM pg_catalog.pg_stat_activity a
                   WHERE a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
                   ORDER BY a.xact_start LIMIT 5) a ON true
ORDER BY a.xact_start;

-- name: doctor_locks
-- Sessions that wait for a lock and use tables of the schema, each with one of those that it waits for.
SELECT l.pid, w.application_name AS application, left(w.query, 300) AS query, l.mode, COALESCE(t.relname::text, l.locktype) AS on_what,
    extract(epoch FROM clock_timestamp() - COALESCE(l.waitstart, w.query_start))::float8 AS waits, b.pid AS blocker,
    b.application_name AS blocker_application, b.state AS blocker_state, left(b.query, 300) AS blocker_query,
    extract(epoch FROM clock_timestamp() - b.xact_start)::float8 AS blocker_age
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity w ON w.pid = l.pid AND w.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_class t ON t.oid = l.relation
CROSS JOIN LATERAL (SELECT p.pid FROM unnest(pg_catalog.pg_blocking_pids(l.pid)) AS p (pid) ORDER BY p.pid = 0, p.pid LIMIT 1) p
LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = p.pid
WHERE NOT l.granted AND EXISTS (
    SELECT FROM pg_catalog.pg_locks o JOIN pg_catalog.pg_class c ON c.oid = o.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE o.pid = l.pid AND n.nspname = :'schema')
ORDER BY 6 DESC NULLS LAST LIMIT 50;

-- name: doctor_partitions
-- This month and the next $1 ones: which tables of the history have no partition for them.
SELECT m.ahead, to_char(m.month, 'YYYY-MM') AS month, array_agg(p.parent ORDER BY p.parent) AS missing
FROM (SELECT n AS ahead, date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + n * interval '1 month' AS month
      FROM generate_series(0, $1::integer) AS n) m
CROSS JOIN unnest(ARRAY['run_requests', 'attempts', 'run_log']) AS p (parent)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = :'schema' AND c.relispartition AND c.relname = p.parent || '_' || to_char(m.month, 'YYYYMM'))
GROUP BY m.ahead, m.month ORDER BY m.ahead;

-- name: doctor_history
-- The size of the history, with its indexes, and its months.
SELECT COALESCE(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint AS bytes, count(DISTINCT right(c.relname, 6)) AS months,
    min(right(c.relname, 6)) AS first
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :'schema' AND c.relispartition AND c.relkind = 'r' AND c.relname ~ '^(run_requests|attempts|run_log)_\d{6}$';
