-- How much waits and runs, at a cost that does not grow with it: at most so many of each kind are counted, from the front of each line.

-- By queue: what is ready, scheduled, retrying, blocked, of each at most `most`; what runs; since when the first ones wait; and whether
-- there may be more of any of it than that.
CREATE OR REPLACE FUNCTION :schema.queue_depths(namespace text, most integer DEFAULT 10000) RETURNS TABLE (
    queue text, queued bigint, blocked bigint, running bigint, scheduled bigint, retrying bigint, oldest_ready_at timestamptz, capped boolean
) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    most := COALESCE(most, 10000); namespace := COALESCE(namespace, 'default');
    IF most NOT BETWEEN 0 AND 1000000000 THEN
        PERFORM :schema.refuse('most', format('is %s', most), 'give how many of a kind are counted at most, 0 to 1000000000', 'queue_depths');
    END IF;
    RETURN QUERY
    WITH lines AS (
        SELECT DISTINCT l.queue, l.priority FROM :schema.lanes l WHERE l.namespace = queue_depths.namespace
    ), parts AS (
        SELECT l.queue, d.queued, 0::bigint AS blocked, 0::bigint AS running, 0::bigint AS scheduled, 0::bigint AS retrying, d.oldest, d.seen > most AS capped
        FROM lines l CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE f.state IN ('q', 'c')) AS queued, min(f.run_at) FILTER (WHERE f.state = 'q') AS oldest, count(*) AS seen
            FROM (SELECT j.state, j.run_at FROM :schema.jobs j
                  WHERE j.namespace = queue_depths.namespace AND j.queue = l.queue AND j.priority = l.priority AND j.seq IS NOT NULL
                  ORDER BY j.seq LIMIT most + 1) f) d
        UNION ALL
        SELECT c.queue, 0, 0, d.running, 0, 0, NULL, false
        FROM :schema.claims c CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE f.worker = c.worker AND f.claim = c.claim AND f.state = 'r') AS running
            FROM (SELECT j.worker, j.claim, j.state FROM :schema.jobs j
                  WHERE j.namespace = c.namespace AND j.queue = c.queue AND j.priority = c.priority AND j.seq BETWEEN c.first_seq AND c.last_seq
                  ORDER BY j.seq LIMIT most) f) d
        WHERE c.namespace = queue_depths.namespace
        UNION ALL
        SELECT f.queue, 0, 0, 0, count(*) FILTER (WHERE f.state = 's'), count(*) FILTER (WHERE f.state = 't'), NULL, max(f.n) > most
        FROM (SELECT j.queue, j.state, row_number() OVER () AS n FROM (
                  SELECT j.queue, j.state FROM :schema.jobs j WHERE j.namespace = queue_depths.namespace AND j.seq IS NULL AND j.gate IS NULL
                  ORDER BY j.run_at LIMIT most + 1) j) f
        GROUP BY f.queue
        UNION ALL
        SELECT f.queue, 0, count(*), 0, 0, 0, NULL, max(f.n) > most
        FROM (SELECT j.queue, row_number() OVER () AS n FROM (
                  SELECT j.queue FROM :schema.jobs j WHERE j.namespace = queue_depths.namespace AND j.gate IS NOT NULL AND j.seq IS NULL
                  ORDER BY j.gate, j.priority, j.place LIMIT most + 1) j) f
        GROUP BY f.queue
    )
    SELECT p.queue, LEAST(sum(p.queued), most)::bigint, LEAST(sum(p.blocked), most)::bigint, sum(p.running)::bigint, LEAST(sum(p.scheduled), most)::bigint,
        LEAST(sum(p.retrying), most)::bigint, min(p.oldest), bool_or(p.capped)
    FROM parts p GROUP BY p.queue
    HAVING sum(p.queued) + sum(p.blocked) + sum(p.running) + sum(p.scheduled) + sum(p.retrying) > 0 ORDER BY p.queue;
END $$;
COMMENT ON FUNCTION :schema.queue_depths(text, integer) IS
    'What waits and runs in each queue now; of each kind at most so many are counted (capped: there may be more), so it is quick however much there is. Example: SELECT queue, queued, oldest_ready_at FROM queue_depths(''default'')';

-- What workers run now, those that have run longest first, at most so many of each worker.
CREATE OR REPLACE FUNCTION :schema.running_jobs(namespace text, most integer DEFAULT 10)
RETURNS TABLE (worker uuid, id uuid, task text, queue text, attempt integer, started_at timestamptz) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.worker, r.id, r.task, r.queue, r.attempt, r.claimed_at FROM (
        SELECT c.worker, f.id, f.task, f.queue, f.attempt, f.claimed_at, row_number() OVER (PARTITION BY c.worker ORDER BY f.claimed_at, f.id) AS place
        FROM :schema.claims c CROSS JOIN LATERAL (
            SELECT j.* FROM :schema.jobs j
            WHERE j.namespace = c.namespace AND j.queue = c.queue AND j.priority = c.priority AND j.seq BETWEEN c.first_seq AND c.last_seq
            ORDER BY j.seq LIMIT 2000) f
        WHERE c.namespace = running_jobs.namespace AND f.worker = c.worker AND f.claim = c.claim AND f.state = 'r'
    ) r WHERE r.place <= most ORDER BY r.worker, r.place;
END $$;
COMMENT ON FUNCTION :schema.running_jobs(text, integer) IS
    'What workers run now, at most so many of each, those that have run longest first. Example: SELECT worker, task, now() - started_at FROM running_jobs(''default'')';
