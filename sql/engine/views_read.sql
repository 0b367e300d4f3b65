-- How runs are read: the views, with plans that do not depend on how much there was when they were made. A plan from the time
-- when a table was empty would go on reading all of it.

-- One run.
CREATE OR REPLACE FUNCTION :schema.find_run(id uuid) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM :schema.runs r WHERE r.id = $1;
END $$;

-- Its timeline, in order.
CREATE OR REPLACE FUNCTION :schema.find_events(run_id uuid) RETURNS SETOF :schema.run_events LANGUAGE plpgsql STABLE SECURITY DEFINER
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT e.* FROM :schema.run_events e WHERE e.run_id = $1 ORDER BY e.at, e.attempt NULLS FIRST, e.n;
END $$;

-- Its finished attempts, in order.
CREATE OR REPLACE FUNCTION :schema.find_attempts(run_id uuid) RETURNS SETOF :schema.attempts LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT a.* FROM :schema.attempts a WHERE a.run_id = $1 ORDER BY a.attempt;
END $$;

-- The tasks that workers of a namespace have published, by name. Who enqueues by name asks, and need not read the catalogue for it.
CREATE OR REPLACE FUNCTION :schema.task_names(namespace text) RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT c.task FROM :schema.catalog c WHERE c.namespace = $1 ORDER BY c.task;
END $$;

-- What each pool that knows a task takes, the latest first: schemas as text, null where it has none.
CREATE OR REPLACE FUNCTION :schema.task_inputs(namespace text, task text) RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT c.input_schema::text FROM :schema.catalog c WHERE c.namespace = $1 AND c.task = $2 ORDER BY c.seen_at DESC;
END $$;

-- The newest runs: those whose meta contains this, that have any of these tags, created from since and before until, with an
-- id below before. Walks the ids from their end.
CREATE OR REPLACE FUNCTION :schema.list_runs(
    namespace text, task text, queue text, meta jsonb, tags text[], since timestamptz, until timestamptz, before uuid, most integer
) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM :schema.runs r
    WHERE r.namespace = $1
      AND ($2 IS NULL OR r.task = $2) AND ($3 IS NULL OR r.queue = $3)
      AND ($4 IS NULL OR r.meta @> $4) AND ($5 IS NULL OR r.tags && $5)
      AND r.id >= COALESCE(:schema.id_floor($6), '00000000-0000-0000-0000-000000000000')
      AND r.id < COALESCE(:schema.id_floor($7), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND r.id < COALESCE($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY r.id DESC LIMIT $9;
END $$;

-- The same of unfinished runs in these states, as jobs stores them. Starts from the live table.
CREATE OR REPLACE FUNCTION :schema.list_live(
    namespace text, task text, queue text, meta jsonb, tags text[], since timestamptz, until timestamptz, before uuid, most integer, states text[]
) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM :schema.jobs live CROSS JOIN LATERAL (SELECT * FROM :schema.runs r WHERE r.id = live.id) r
    WHERE live.namespace = $1 AND live.state::text = ANY ($10)
      AND ($2 IS NULL OR live.task = $2) AND ($3 IS NULL OR live.queue = $3)
      AND ($4 IS NULL OR r.meta @> $4) AND ($5 IS NULL OR r.tags && $5)
      AND live.id >= COALESCE(:schema.id_floor($6), '00000000-0000-0000-0000-000000000000')
      AND live.id < COALESCE(:schema.id_floor($7), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND live.id < COALESCE($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY live.id DESC LIMIT $9;
END $$;

-- The same of finished runs with these outcomes. Starts from the final attempts.
CREATE OR REPLACE FUNCTION :schema.list_ended(
    namespace text, task text, queue text, meta jsonb, tags text[], since timestamptz, until timestamptz, before uuid, most integer, outcomes text[]
) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM :schema.attempts ended CROSS JOIN LATERAL (SELECT * FROM :schema.runs r WHERE r.id = ended.run_id) r
    WHERE ended.final AND ended.outcome = ANY ($10) AND r.namespace = $1
      AND ($2 IS NULL OR r.task = $2) AND ($3 IS NULL OR r.queue = $3)
      AND ($4 IS NULL OR r.meta @> $4) AND ($5 IS NULL OR r.tags && $5)
      AND ended.run_id >= COALESCE(:schema.id_floor($6), '00000000-0000-0000-0000-000000000000')
      AND ended.run_id < COALESCE(:schema.id_floor($7), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND ended.run_id < COALESCE($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY ended.run_id DESC LIMIT $9;
END $$;

-- The same of a schedule's runs, in any of these states (NULL: all). Starts from its ticks.
CREATE OR REPLACE FUNCTION :schema.list_scheduled(
    namespace text, task text, queue text, meta jsonb, tags text[], since timestamptz, until timestamptz, before uuid, most integer,
    schedule text, statuses text[]
) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM :schema.schedule_ticks t CROSS JOIN LATERAL (SELECT * FROM :schema.runs r WHERE r.id = t.run_id) r
    WHERE t.namespace = $1 AND t.schedule = $10
      AND ($2 IS NULL OR r.task = $2) AND ($3 IS NULL OR r.queue = $3)
      AND ($4 IS NULL OR r.meta @> $4) AND ($5 IS NULL OR r.tags && $5) AND ($11 IS NULL OR r.status = ANY ($11))
      AND t.run_id >= COALESCE(:schema.id_floor($6), '00000000-0000-0000-0000-000000000000')
      AND t.run_id < COALESCE(:schema.id_floor($7), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND t.run_id < COALESCE($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY t.run_id DESC LIMIT $9;
END $$;
