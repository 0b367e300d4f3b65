-- Who is alive, and which tasks they know.

-- A worker process appears (or appears again, after it was given up for dead).
CREATE OR REPLACE FUNCTION :schema.register_worker(
    worker uuid, namespace text, name text, host text, pid integer, version text, queues text[], concurrency integer
) RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO :schema.workers (id, namespace, name, host, pid, version, queues, concurrency)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (id) DO UPDATE SET beat_at = clock_timestamp(), suspected_at = NULL
$$;

-- Publish what a pool of workers knows: [{"task", "queue", "priority", "max_attempts", "options", "input_schema",
-- "description", "version"}]. Other pools' entries are not touched.
CREATE OR REPLACE FUNCTION :schema.publish_tasks(namespace text, pool text, tasks jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO :schema.catalog AS c
        (namespace, task, pool, queue, priority, max_attempts, options, input_schema, description, version, seen_at)
    SELECT namespace, t.task, pool, t.queue, t.priority, t.max_attempts, COALESCE(t.options, '{}'), t.input_schema, t.description,
        t.version, clock_timestamp()
    FROM jsonb_to_recordset(tasks) AS t (task text, queue text, priority smallint, max_attempts smallint, options jsonb,
                                         input_schema jsonb, description text, version text)
    ORDER BY t.task
    ON CONFLICT ON CONSTRAINT catalog_pkey DO UPDATE SET queue = EXCLUDED.queue, priority = EXCLUDED.priority,
        max_attempts = EXCLUDED.max_attempts, options = EXCLUDED.options, input_schema = EXCLUDED.input_schema,
        description = EXCLUDED.description, version = EXCLUDED.version, seen_at = EXCLUDED.seen_at;
    INSERT INTO :schema.queues (namespace, name)
    SELECT DISTINCT namespace, t.queue FROM jsonb_to_recordset(tasks) AS t (queue text) ORDER BY 2
    ON CONFLICT DO NOTHING;
    PERFORM :schema.note_lanes(namespace, array_agg(t.queue), array_agg(t.priority))
    FROM jsonb_to_recordset(tasks) AS t (queue text, priority smallint);
END $$;

-- A worker beats. inflight names the claims that it knows of; jobs held under another one older than `timeout` were claimed by
-- a call whose reply was lost: they are released. known is false if the worker had been given up: it must register
-- again, and what it ran is no longer its own. others: how many other workers there are.
CREATE OR REPLACE FUNCTION :schema.beat_worker(
    worker uuid, state text, running integer, inflight bigint[], timeout interval DEFAULT '15 seconds'
) RETURNS TABLE (known boolean, cancels uuid[], others integer, released integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    stranded bigint[];
    freed    integer := 0;
BEGIN
    UPDATE :schema.workers w SET beat_at = clock_timestamp(), suspected_at = NULL, state = beat_worker.state,
        running = beat_worker.running
    WHERE w.id = worker;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, '{}'::uuid[], 0, 0;
        RETURN;
    END IF;
    DELETE FROM :schema.cancels c WHERE c.worker = beat_worker.worker
        AND NOT EXISTS (SELECT FROM :schema.jobs j WHERE j.id = c.run_id AND j.worker = c.worker);
    stranded := ARRAY(SELECT DISTINCT c.claim FROM :schema.claims c
                      WHERE c.worker = beat_worker.worker AND c.claim <> ALL (inflight)
                        AND c.claimed_at < clock_timestamp() - timeout);
    IF cardinality(stranded) > 0 THEN
        freed := :schema.release_jobs(worker, stranded);
    END IF;
    RETURN QUERY SELECT true, ARRAY(SELECT DISTINCT c.run_id FROM :schema.cancels c WHERE c.worker = beat_worker.worker), (SELECT count(*)::integer - 1 FROM :schema.workers), freed;
END $$;
COMMENT ON FUNCTION :schema.beat_worker(uuid, text, integer, bigint[], interval) IS 'A worker says that it lives, and learns what it must know.';

-- Of these jobs, the places (from 0) of those that the worker does not hold under that claim.
CREATE OR REPLACE FUNCTION :schema.lost_jobs(worker uuid, ids uuid[], claims bigint[]) RETURNS integer[]
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN ARRAY(
        SELECT u.i::integer - 1 FROM unnest(ids, claims) WITH ORDINALITY AS u (id, claim, i)
        WHERE NOT EXISTS (SELECT FROM :schema.jobs j WHERE j.id = u.id AND j.worker = lost_jobs.worker AND j.claim = u.claim)
        ORDER BY u.i);
END $$;

-- A worker leaves: what it still holds is released, its bells and its row go. Answers how many jobs were released.
CREATE OR REPLACE FUNCTION :schema.leave_worker(worker uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    freed integer;
BEGIN
    PERFORM FROM :schema.workers w WHERE w.id = worker FOR UPDATE;
    freed := :schema.release_jobs(worker);
    DELETE FROM :schema.bells b WHERE b.worker = leave_worker.worker;
    DELETE FROM :schema.cancels c WHERE c.worker = leave_worker.worker;
    DELETE FROM :schema.workers w WHERE w.id = worker;
    RETURN freed;
END $$;
COMMENT ON FUNCTION :schema.leave_worker(uuid) IS
    'A worker leaves: what it still holds goes back, uncounted; answers how many jobs that was. Example: SELECT leave_worker(:worker)';
