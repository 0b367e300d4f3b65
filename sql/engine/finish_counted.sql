-- Jobs that completed, that limits count and that nobody can have locked: what finish_jobs does first for those that nothing counts, and
-- their slots come back.
CREATE OR REPLACE FUNCTION :schema.finish_counted(
    worker uuid, ids uuid[], claims bigint[], outcomes text[], outputs jsonb[], started double precision[], finished double precision[],
    claiming boolean, OUT applied uuid[], OUT waiters uuid[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_claim   bigint := CASE cardinality(claims) WHEN 1 THEN claims[1] END;
    one_outcome text := CASE cardinality(outcomes) WHEN 1 THEN outcomes[1] END;
    one_output  jsonb := CASE cardinality(outputs) WHEN 1 THEN outputs[1] END;
    did         record;
BEGIN
    WITH gone AS (
        DELETE FROM :schema.jobs j
        USING (SELECT * FROM unnest(ids, claims, outcomes, outputs, started, finished)
                   AS u (id, claim, outcome, output, started, finished)
               WHERE COALESCE(u.outcome, one_outcome) = 'completed' ORDER BY u.id) u
        WHERE j.id = ANY (ARRAY[u.id]) AND j.worker = finish_counted.worker AND j.claim = COALESCE(u.claim, one_claim)
          AND (j.xmax = '0' OR j.xmax = j.xmin) AND j.slots > 0
        RETURNING j.id, j.claim, j.attempt, j.uncounted, j.awaited, j.claimed_at, j.namespace, j.queue, j.task, j.concurrency_key, j.slots,
            u.output, u.started, u.finished
    ), history AS (
        INSERT INTO :schema.attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output)
        SELECT g.id, finish_counted.worker, g.claim,
            COALESCE(statement_timestamp() - g.started * interval '1 second', g.claimed_at),
            statement_timestamp() - COALESCE(g.finished, 0) * interval '1 second',
            g.attempt, g.attempt - g.uncounted, true, 'completed', COALESCE(g.output, one_output)
        FROM gone g
    )
    SELECT COALESCE(array_agg(g.id), '{}') AS applied, array_agg(g.id) FILTER (WHERE g.awaited) AS waiters, array_agg(g.namespace) AS namespaces,
        array_agg(g.queue) AS queues, array_agg(g.task) AS tasks, array_agg(g.concurrency_key) AS keys, array_agg(g.slots) AS slots
    INTO did FROM gone g;
    applied := did.applied;
    waiters := did.waiters;
    IF did.slots IS NOT NULL THEN
        PERFORM :schema.free_slots(did.namespaces, did.queues, did.tasks, did.keys, did.slots, claiming);
    END IF;
END $$;
