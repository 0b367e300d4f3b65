-- What is pruned beside runs: the history of ticks, and workers that nobody has buried. (Idempotency keys that are over: idempotency.sql.)

-- Remove the history of ticks decided before a time, at most so many; answers how many. A tick stays as long as its run does, and the
-- newest one of a schedule that there is stays with it.
CREATE OR REPLACE FUNCTION :schema.prune_ticks(before timestamptz, most integer DEFAULT 10000) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    gone integer;
BEGIN
    DELETE FROM :schema.schedule_ticks t WHERE t.ctid = ANY (ARRAY(
        SELECT o.ctid FROM :schema.schedule_ticks o
        WHERE o.fired_at < before
          AND (o.run_id IS NULL OR NOT EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = o.run_id))
          AND NOT (o.at = (SELECT n.at FROM :schema.schedule_ticks n WHERE n.namespace = o.namespace AND n.schedule = o.schedule
                           ORDER BY n.at DESC LIMIT 1)
                   AND EXISTS (SELECT FROM :schema.schedules s WHERE s.namespace = o.namespace AND s.key = o.schedule))
        LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
COMMENT ON FUNCTION :schema.prune_ticks(timestamptz, integer) IS
    'Remove the history of ticks decided before a time whose runs are gone; answers how many, at most so many. Example: SELECT prune_ticks(now() - interval ''90 days'')';

-- Remove the rows of workers that have not beaten for a day and hold nothing: where no worker has started since, nobody has buried them.
CREATE OR REPLACE FUNCTION :schema.forget_workers() RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone integer;
BEGIN
    DELETE FROM :schema.workers w WHERE w.id = ANY (ARRAY(
        SELECT o.id FROM :schema.workers o
        WHERE o.beat_at < clock_timestamp() - interval '1 day' AND COALESCE(o.suspected_at, '-infinity') < clock_timestamp()
          AND NOT EXISTS (SELECT FROM :schema.claims c WHERE c.worker = o.id)
        ORDER BY o.id FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
