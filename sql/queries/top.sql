-- What `openqueue top` reads besides the lists of queues, workers and controls. Nothing here counts history.

-- name: top_totals
-- How much has happened since the statistics of the server began, in all namespaces: runs added, and attempts ended. For rates, from two
-- readings; sessions report what they did about once a second.
SELECT COALESCE(sum(t.n_tup_ins) FILTER (WHERE t.relname = 'jobs'), 0)::bigint AS added,
    COALESCE(sum(t.n_tup_ins) FILTER (WHERE t.relname ~ '^attempts_\d{6}$'), 0)::bigint AS ended
FROM pg_catalog.pg_stat_user_tables t WHERE t.schemaname = :'schema';

-- name: top_failures
-- The newest failures of namespace $1 ($2 queue, null: all), $3 of them among the last hundred, by the index of what did not end well.
SELECT a.run_id, a.finished_at, r.task, r.queue, a.error ->> 'type' AS type, a.error ->> 'message' AS message
FROM (SELECT * FROM :schema.attempts a WHERE a.final AND a.outcome = 'failed' ORDER BY a.finished_at DESC LIMIT 100) a
JOIN LATERAL (SELECT r.task, r.queue, r.namespace FROM :schema.run_requests r WHERE r.id = a.run_id) r
    ON r.namespace = $1::text AND ($2::text IS NULL OR r.queue = $2::text)
ORDER BY a.finished_at DESC LIMIT $3::integer;

-- name: top_failing
-- How many runs have failed for good within the last minute, up to a thousand, in all namespaces.
SELECT count(*) AS failed FROM (
    SELECT FROM :schema.attempts a WHERE a.final AND a.outcome = 'failed' AND a.finished_at > clock_timestamp() - interval '1 minute' LIMIT 1000) f;
