-- Backfill: the runs of times that are past, whatever became of them then.

-- Enqueue the runs of these ticks [{"at", "previous"}] of a schedule, those left out that have one: to repeat it adds nothing. A
-- tick that was skipped has its run now; how many were missed with it stays with it. Overlap is not regarded, and neither the cursor nor what counts for
-- max_runs moves. Answers each tick with its run, and whether that is new.
CREATE OR REPLACE FUNCTION :schema.backfill_schedule(key text, ticks jsonb, namespace text DEFAULT 'default')
RETURNS TABLE (at timestamptz, run_id uuid, added boolean) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s     :schema.schedules := :schema.lock_schedule(namespace, key);
    ats   timestamptz[];
    fresh jsonb[];
    gone  record;
BEGIN
    IF COALESCE(jsonb_typeof(ticks) <> 'array', true) OR ticks @? 'strict $[*] ? (@.type() != "object")' THEN
        PERFORM :schema.refuse('ticks', 'must be a JSON array of objects', 'give [{"at": time}]', format('schedule %s', key));
    END IF;
    BEGIN
        ats := ARRAY(SELECT DISTINCT (e ->> 'at')::timestamptz FROM jsonb_array_elements(ticks) e);
    EXCEPTION WHEN data_exception THEN
        PERFORM :schema.refuse('ticks', format('has a time that cannot be read: %s', SQLERRM), 'give times that are past: {"at": time}', format('schedule %s', key));
    END;
    IF array_position(ats, NULL) IS NOT NULL OR EXISTS (SELECT FROM unnest(ats) a WHERE a > statement_timestamp()) THEN
        PERFORM :schema.refuse('ticks', 'has one without a time, or of a time to come', 'give times that are past: {"at": time}', format('schedule %s', key));
    END IF;
    fresh := ARRAY(SELECT e.tick || '{"backfill": true}'
        FROM (SELECT DISTINCT ON ((e ->> 'at')::timestamptz) (e ->> 'at')::timestamptz AS at, e AS tick FROM jsonb_array_elements(ticks) e) e
        WHERE NOT EXISTS (SELECT FROM :schema.schedule_ticks k
                          WHERE k.namespace = s.namespace AND k.schedule = s.key AND k.at = e.at AND k.run_id IS NOT NULL)
        ORDER BY e.at);
    WITH g AS (DELETE FROM :schema.schedule_ticks k WHERE k.namespace = s.namespace AND k.schedule = s.key AND k.at = ANY (ats) AND k.run_id IS NULL
               RETURNING k.at, k.missed, k.missed_from)
    SELECT array_agg(g.at) AS ats, array_agg(g.missed) AS counts, array_agg(g.missed_from) AS froms INTO gone FROM g;
    PERFORM :schema.enqueue_ticks(s.namespace, array_fill(s.key, ARRAY[cardinality(fresh)]), fresh);
    UPDATE :schema.schedule_ticks k SET missed = g.missed, missed_from = g.missed_from
    FROM unnest(gone.ats, gone.counts, gone.froms) AS g (at, missed, missed_from)
    WHERE k.namespace = s.namespace AND k.schedule = s.key AND k.at = g.at AND g.missed IS NOT NULL;
    RETURN QUERY SELECT k.at, k.run_id, EXISTS (SELECT FROM unnest(fresh) f WHERE (f ->> 'at')::timestamptz = k.at)
    FROM :schema.schedule_ticks k WHERE k.namespace = s.namespace AND k.schedule = s.key AND k.at = ANY (ats) ORDER BY k.at;
END $$;
COMMENT ON FUNCTION :schema.backfill_schedule(text, jsonb, text) IS
    'Enqueue the runs of past times of a schedule that have none; to repeat it adds nothing. Which times a cron expression has, Python knows: `openqueue schedule backfill`. Example: SELECT * FROM backfill_schedule(''nightly'', ''[{"at": "2026-11-01 01:00:00+00"}]'')';
