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
