-- What people read. Changed by CREATE OR REPLACE only: columns are appended, never renamed or removed.

CREATE OR REPLACE VIEW :schema.runs AS
SELECT r.id, r.namespace, r.task, COALESCE(j.queue, r.queue) AS queue, COALESCE(j.priority, r.priority) AS priority,
    CASE j.state WHEN 's' THEN 'scheduled' WHEN 't' THEN 'retrying' WHEN 'r' THEN 'running' WHEN 'q' THEN 'queued'
        WHEN 'c' THEN 'queued' WHEN 'b' THEN 'blocked' ELSE COALESCE(f.outcome, 'broken') END AS status,
    r.input, f.output, COALESCE(f.error, p.error) AS error,
    (SELECT :schema.merge_patches(l.data ORDER BY l.n) FROM :schema.run_log l WHERE l.run_id = r.id AND l.kind = 'progress') AS progress,
    COALESCE(r.meta, '{}') AS meta, COALESCE(r.tags, '{}') AS tags, r.key,
    COALESCE(j.attempt - j.uncounted, f.counted, 0) AS attempt, COALESCE(j.max_attempts, r.max_attempts) AS max_attempts,
    CASE WHEN j.id IS NULL THEN f.worker ELSE NULLIF(j.worker, :schema.nobody()) END AS worker,
    :schema.id_time(r.id) AS created_at, COALESCE(j.run_at, r.run_at) AS run_at,
    CASE WHEN j.id IS NULL THEN f.started_at WHEN j.state = 'r' THEN j.claimed_at END AS started_at,
    CASE WHEN j.id IS NULL THEN f.finished_at END AS finished_at, r.deadline
FROM :schema.run_requests r
LEFT JOIN :schema.jobs j ON j.id = r.id
LEFT JOIN LATERAL (SELECT a.* FROM :schema.attempts a WHERE a.run_id = r.id AND a.final AND j.id IS NULL
                   ORDER BY a.attempt DESC LIMIT 1) f ON true
LEFT JOIN LATERAL (SELECT a.error FROM :schema.attempts a WHERE a.run_id = r.id AND j.state = 't'
                   ORDER BY a.attempt DESC LIMIT 1) p ON true;
COMMENT ON VIEW :schema.runs IS 'Every run as people read it. DELETE removes a finished run with its history.';

CREATE OR REPLACE TRIGGER delete_run INSTEAD OF DELETE ON :schema.runs FOR EACH ROW EXECUTE FUNCTION :schema.delete_run();

-- The timeline. attempt is the number that never restarts, counted the one that max_attempts counts (and the task sees).
-- A log line's time is worked out from how long ago it was when it was sent, so it may be some milliseconds late; it is shown
-- within its attempt, and not before a line that was said earlier.
CREATE OR REPLACE VIEW :schema.run_events AS
SELECT r.id AS run_id, :schema.id_time(r.id) AS at, -2::bigint AS n, 'enqueued' AS event, NULL::integer AS attempt,
    NULL::uuid AS worker, jsonb_build_object('queue', r.queue, 'priority', r.priority, 'run_at', r.run_at) AS data,
    NULL::integer AS counted
FROM :schema.run_requests r
UNION ALL
SELECT a.run_id, a.started_at, 0, 'started', a.attempt, a.worker, '{}', a.counted FROM :schema.attempts a WHERE a.started_at IS NOT NULL
UNION ALL
SELECT j.id, j.claimed_at, 0, 'started', j.attempt, j.worker, '{}', j.attempt - j.uncounted FROM :schema.jobs j WHERE j.state = 'r'
UNION ALL
SELECT l.run_id, LEAST(GREATEST(max(l.at) OVER (PARTITION BY l.run_id, l.attempt ORDER BY l.n),
                                COALESCE(a.started_at, j.claimed_at)), a.finished_at),
    l.n, l.kind, l.attempt, NULL, l.data, COALESCE(a.counted, j.counted)
FROM :schema.run_log l
LEFT JOIN LATERAL (SELECT a.started_at, a.finished_at, a.counted FROM :schema.attempts a
                   WHERE a.run_id = l.run_id AND a.attempt = l.attempt OFFSET 0) a ON true
LEFT JOIN LATERAL (SELECT CASE WHEN j.state = 'r' THEN j.claimed_at END AS claimed_at, j.attempt - j.uncounted AS counted
                   FROM :schema.jobs j WHERE j.id = l.run_id AND j.attempt = l.attempt AND j.worker <> :schema.nobody() OFFSET 0) j ON true
WHERE l.kind <> 'event'
UNION ALL
SELECT l.run_id, l.at, -1, COALESCE(l.data ->> 'event', l.kind), l.attempt + 1, NULL, l.data - 'event', NULL
FROM :schema.run_log l WHERE l.kind = 'event'
UNION ALL
SELECT a.run_id, a.finished_at, 9223372036854775807, CASE WHEN a.outcome = 'failed' AND COALESCE(a.error ->> 'retryable', 'true') = 'true' AND NOT a.final THEN 'retried' ELSE a.outcome END,
    a.attempt, a.worker, jsonb_strip_nulls(jsonb_build_object('error', a.error, 'final', a.final)), a.counted FROM :schema.attempts a;
COMMENT ON VIEW :schema.run_events IS 'The timeline of runs: order by at, attempt (null first), n.';

CREATE OR REPLACE VIEW :schema.queue_stats AS
SELECT j.namespace, j.queue,
    count(*) FILTER (WHERE j.state IN ('q', 'c')) AS queued, count(*) FILTER (WHERE j.state = 'r') AS running,
    count(*) FILTER (WHERE j.state = 's') AS scheduled, count(*) FILTER (WHERE j.state = 't') AS retrying,
    min(j.run_at) FILTER (WHERE j.state = 'q') AS oldest_ready_at, count(*) FILTER (WHERE j.state = 'b') AS blocked
FROM :schema.jobs j GROUP BY j.namespace, j.queue;
COMMENT ON VIEW :schema.queue_stats IS 'What each queue holds now; counts live jobs only, and all of them: where millions wait, queue_depths(namespace) is quick.';

-- What ended of each queue in the last five minutes, and how long it waited (from due to start) and ran, in seconds.
CREATE OR REPLACE VIEW :schema.queue_rates AS
SELECT r.namespace, r.queue, min(r.since) AS since, sum(r.completed)::bigint AS completed, sum(r.failed)::bigint AS failed, sum(r.retried)::bigint AS retried,
    :schema.quantile(:schema.sum_counts(r.waited), 0.5) AS waited_p50, :schema.quantile(:schema.sum_counts(r.waited), 0.95) AS waited_p95,
    :schema.quantile(:schema.sum_counts(r.waited), 0.99) AS waited_p99, :schema.quantile(:schema.sum_counts(r.ran), 0.5) AS ran_p50,
    :schema.quantile(:schema.sum_counts(r.ran), 0.95) AS ran_p95, :schema.quantile(:schema.sum_counts(r.ran), 0.99) AS ran_p99
FROM :schema.recent_stats(5) r GROUP BY r.namespace, r.queue;
COMMENT ON VIEW :schema.queue_rates IS
    'What ended of each queue in the last five minutes; seconds from due to start (waited) and of running (ran). From what workers tell every few seconds, not from the history.';

-- The same of each task.
CREATE OR REPLACE VIEW :schema.task_rates AS
SELECT r.namespace, r.task, min(r.since) AS since, sum(r.completed)::bigint AS completed, sum(r.failed)::bigint AS failed, sum(r.retried)::bigint AS retried,
    :schema.quantile(:schema.sum_counts(r.waited), 0.5) AS waited_p50, :schema.quantile(:schema.sum_counts(r.waited), 0.95) AS waited_p95,
    :schema.quantile(:schema.sum_counts(r.waited), 0.99) AS waited_p99, :schema.quantile(:schema.sum_counts(r.ran), 0.5) AS ran_p50,
    :schema.quantile(:schema.sum_counts(r.ran), 0.95) AS ran_p95, :schema.quantile(:schema.sum_counts(r.ran), 0.99) AS ran_p99
FROM :schema.recent_stats(5) r GROUP BY r.namespace, r.task;
COMMENT ON VIEW :schema.task_rates IS 'What ended of each task in the last five minutes; as queue_rates.';
