-- Jobs that were claimed ahead of a free place begin to run.

-- Show jobs as running. Answers the runs that must not run: their lease is lost, or their deadline has passed (then they end
-- as expired).
--   begun   they run already: a deadline that has passed since is kept, and a job that somebody has locked is left as it is,
--           not waited for with all the others
CREATE OR REPLACE FUNCTION :schema.start_jobs(worker uuid, ids uuid[], claims bigint[], begun boolean DEFAULT false) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    free uuid[] := :schema.lock_held(worker, ids, claims, begun);
    mine uuid[];
BEGIN
    WITH begins AS (
        UPDATE :schema.jobs j SET state = 'r', claimed_at = statement_timestamp()
        FROM unnest(free) AS u (id)
        WHERE j.id = ANY (ARRAY[u.id]) AND (begun OR j.state = 'r' OR j.deadline > statement_timestamp()) RETURNING j.id
    ) SELECT COALESCE(array_agg(b.id), '{}') INTO mine FROM begins b;
    IF cardinality(mine) < cardinality(free) THEN
        PERFORM :schema.expire_claimed(free);
    END IF;
    IF begun AND cardinality(free) < cardinality(ids) THEN  -- what somebody has locked is still its worker's
        mine := mine || ARRAY(
            SELECT j.id FROM unnest(ids, claims) AS u (id, claim)
            JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = start_jobs.worker AND j.claim = u.claim);
    END IF;
    RETURN ARRAY(SELECT u.id FROM unnest(ids) AS u (id) WHERE u.id <> ALL (mine));
END $$;
COMMENT ON FUNCTION :schema.start_jobs(uuid, uuid[], bigint[], boolean) IS
    'Show claimed jobs as running; answers those that must not run: their lease is lost, or they have expired.';

-- Those of these claimed jobs that have not begun by their deadline end as expired. The caller has locked them.
CREATE OR REPLACE FUNCTION :schema.expire_claimed(ids uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    did record;
BEGIN
    WITH gone AS (
        DELETE FROM :schema.jobs j USING unnest(ids) AS u (id)
        WHERE j.id = ANY (ARRAY[u.id]) AND j.state = 'c' AND j.deadline <= statement_timestamp()
        RETURNING j.*
    ), history AS (
        INSERT INTO :schema.attempts (run_id, finished_at, attempt, counted, final, outcome, error)
        SELECT g.id, statement_timestamp(), g.attempt, g.attempt - g.uncounted - 1, true, 'expired',
            '{"type": "Expired", "message": "not started by its deadline"}' FROM gone g
    )
    SELECT array_agg(g.id) FILTER (WHERE g.awaited) AS waiters,
        array_agg(g.namespace) FILTER (WHERE g.slots > 0) AS namespaces, array_agg(g.queue) FILTER (WHERE g.slots > 0) AS queues,
        array_agg(g.task) FILTER (WHERE g.slots > 0) AS tasks, array_agg(g.concurrency_key) FILTER (WHERE g.slots > 0) AS keys,
        array_agg(g.slots) FILTER (WHERE g.slots > 0) AS slots
    INTO did FROM gone g;
    PERFORM :schema.tell_waiters(did.waiters);
    IF did.slots IS NOT NULL THEN
        PERFORM :schema.free_slots(did.namespaces, did.queues, did.tasks, did.keys, did.slots);
    END IF;
END $$;
