-- Finding runs, as people call it.

-- Refuse what no run can have, in the words of find_runs; answers the filter as search_runs takes it.
CREATE OR REPLACE FUNCTION :schema.search_filter(
    task text, queue_name text, status text[], schedule text, worker text, job_key text, meta jsonb, tags text[],
    created_from timestamptz, created_before timestamptz, started_from timestamptz, started_before timestamptz,
    finished_from timestamptz, finished_before timestamptz, error_type text, error_text text, place text
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    known CONSTANT text[] := ARRAY['scheduled', 'queued', 'blocked', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'expired'];
    wrong text := (SELECT u.s FROM unnest(status) u (s) WHERE u.s IS NULL OR u.s <> ALL (known) LIMIT 1);
BEGIN
    IF NOT status <@ known THEN
        PERFORM :schema.refuse_call('status', format('has %L', wrong), 'known are ' || array_to_string(known, ', '), place);
    ELSIF jsonb_typeof(meta) <> 'object' THEN
        PERFORM :schema.refuse_call('meta', 'must be a JSON object', 'give what the run''s meta contains: {"tenant": 42}', place);
    ELSIF error_text IS NOT NULL AND COALESCE(created_from, started_from, finished_from) IS NULL THEN
        PERFORM :schema.refuse_call('error_text', 'is looked for only within a time', 'give finished_from, such as now() - interval ''1 day''', place);
    ELSIF (error_type IS NOT NULL OR error_text IS NOT NULL) AND status && known[1:5] THEN
        PERFORM :schema.refuse_call('status', 'has one of runs that have not ended', 'errors are those of runs that have: leave it out', place);
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object('task', CASE WHEN task IS NOT NULL THEN ARRAY[task] END,
        'queue', CASE WHEN queue_name IS NOT NULL THEN ARRAY[queue_name] END, 'status', status, 'schedule', schedule, 'worker', worker,
        'key', job_key, 'tags', tags, 'created_from', created_from, 'created_before', created_before, 'started_from', started_from,
        'started_before', started_before, 'finished_from', finished_from, 'finished_before', finished_before,
        'error_type', error_type, 'error_text', error_text)) || CASE WHEN meta IS NULL THEN '{}' ELSE jsonb_build_object('meta', meta) END;
END $$;

-- Runs of which all that is given holds, at most so many. It goes on until they are found or nothing is left: bound what is rare by a time.
CREATE OR REPLACE FUNCTION :schema.find_runs(
    task text DEFAULT NULL, queue_name text DEFAULT NULL, status text[] DEFAULT NULL, schedule text DEFAULT NULL, worker text DEFAULT NULL,
    job_key text DEFAULT NULL, meta jsonb DEFAULT NULL, tags text[] DEFAULT NULL,
    created_from timestamptz DEFAULT NULL, created_before timestamptz DEFAULT NULL, started_from timestamptz DEFAULT NULL,
    started_before timestamptz DEFAULT NULL, finished_from timestamptz DEFAULT NULL, finished_before timestamptz DEFAULT NULL,
    error_type text DEFAULT NULL, error_text text DEFAULT NULL, sort text DEFAULT 'created', newest_first boolean DEFAULT true,
    most integer DEFAULT 50, namespace text DEFAULT 'default'
) RETURNS SETOF :schema.runs LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    filter jsonb := :schema.search_filter(task, queue_name, status, schedule, worker, job_key, meta, tags, created_from, created_before,
        started_from, started_before, finished_from, finished_before, error_type, error_text, 'find_runs');
    page   record;
    place  text;
BEGIN
    IF sort IS NULL OR sort NOT IN ('created', 'finished') THEN
        PERFORM :schema.refuse_call('sort', format('is %L', sort), 'give created or finished', 'find_runs');
    ELSIF most IS NULL OR most NOT BETWEEN 1 AND 10000 THEN
        PERFORM :schema.refuse_call('most', format('is %s', most), 'give 1 to 10000', 'find_runs');
    END IF;
    LOOP
        SELECT * INTO page FROM :schema.search_runs(COALESCE(namespace, 'default'), filter, sort, newest_first, place, most);
        RETURN QUERY SELECT r.* FROM unnest(page.ids) WITH ORDINALITY u (id, i) CROSS JOIN LATERAL :schema.find_run(u.id) r ORDER BY u.i;
        most := most - cardinality(page.ids);
        EXIT WHEN page.complete OR most <= 0;
        place := page.cursor;
    END LOOP;
END $$;
COMMENT ON FUNCTION :schema.find_runs(text, text, text[], text, text, text, jsonb, text[], timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, text, text, text, boolean, integer, text) IS
    'Runs of which all that is given holds, newest first; sort: created or finished. Example: SELECT id, task, error FROM find_runs(status => ''{failed}'', meta => ''{"tenantId": 42}'', finished_from => now() - interval ''1 hour'')';
