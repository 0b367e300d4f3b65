-- Retention: finished runs go, with their attempts and their log, when they are old enough. Runs are walked in the order of their ids, and
-- removed in batches, each a transaction of its own. Of a month in which all may go the partitions are dropped instead (months.sql).
--
-- Rules are arrays that run in parallel: the first rule that a run matches (NULL matches all) decides for how long it is kept after its end
-- (NULL: for ever); without a rule it is kept. What stays whatever the rules say: what is unfinished; the newest run of a schedule that there
-- is; what an idempotency key that has not expired still answers.

-- No run before this one is answered by an idempotency key: so a walk needs to look at the keys only from here on.
CREATE OR REPLACE FUNCTION :schema.first_answered() RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT COALESCE((SELECT d.run FROM :schema.idempotency d WHERE d.expires > statement_timestamp() ORDER BY d.run LIMIT 1), :schema.new_id())
$$;

-- Is this the newest run of a schedule that there is? tick: what the run's meta says of its tick.
CREATE OR REPLACE FUNCTION :schema.is_newest_tick(namespace text, tick jsonb, id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN EXISTS (SELECT FROM :schema.schedules s WHERE s.namespace = is_newest_tick.namespace AND s.key = tick ->> 'schedule')
        AND id = (SELECT t.run_id FROM :schema.schedule_ticks t
                  WHERE t.namespace = is_newest_tick.namespace AND t.schedule = tick ->> 'schedule' AND t.run_id IS NOT NULL
                  ORDER BY t.run_id DESC LIMIT 1);
END $$;

-- Walk over the ends of at most so many runs with ids above `after` and below `until`: those that may go, as ids in order with the statuses of each; and the
-- last one looked at, null when none is left that could go. locking: they are locked for the caller to remove; what somebody else has
-- locked, or is just running again, is left out.
CREATE OR REPLACE FUNCTION :schema.pick_ended(
    namespace text, tasks text[], queues text[], statuses text[], ages interval[], after uuid, until uuid, most integer, answered uuid,
    locking boolean,
    OUT ids uuid[], OUT ends text[], OUT last uuid
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    latest  timestamptz := statement_timestamp() - (SELECT min(u.age) FROM unnest(ages) AS u (age));
    -- Of a month that is on its way out (months.sql) nothing is removed one by one.
    frozen  oid[] := ARRAY(SELECT g.tgrelid FROM pg_trigger g WHERE g.tgname = 'openqueue_frozen' AND g.tgenabled <> 'D');
    seen    integer;
    held    uuid[] := '{}';
BEGIN
    SELECT count(*), array_agg(w.run_id ORDER BY w.run_id) FILTER (WHERE w.goes), array_agg(w.outcome ORDER BY w.run_id) FILTER (WHERE w.goes),
        (array_agg(w.run_id ORDER BY w.run_id DESC))[1]
    INTO seen, ids, ends, last
    FROM (
        SELECT a.run_id, a.outcome, r.namespace = pick_ended.namespace AND COALESCE(a.finished_at < statement_timestamp() - (
                SELECT u.age FROM unnest(tasks, queues, statuses, ages) WITH ORDINALITY AS u (task, queue, status, age, i)
                WHERE (u.task IS NULL OR u.task = r.task) AND (u.queue IS NULL OR u.queue = r.queue)
                  AND (u.status IS NULL OR u.status = a.outcome)
                ORDER BY u.i LIMIT 1), false)
            AND a.place <> ALL (frozen) AND (r.tick IS NULL OR NOT :schema.is_newest_tick(r.namespace, r.tick, a.run_id)) AS goes
        FROM (SELECT a.run_id, a.outcome, a.finished_at, a.tableoid AS place FROM :schema.attempts a
              WHERE a.run_id > after AND a.run_id < LEAST(:schema.id_floor(latest), until) AND a.final ORDER BY a.run_id LIMIT most) a
        LEFT JOIN LATERAL (SELECT r.namespace, r.task, r.queue, r.meta -> 'openqueue.tick' AS tick
                           FROM :schema.run_requests r WHERE r.id = a.run_id OFFSET 0) r ON true
    ) w;
    IF ids[cardinality(ids)] >= answered THEN
        held := ARRAY(SELECT d.run FROM :schema.idempotency d
                      WHERE d.expires > statement_timestamp() AND d.run BETWEEN ids[1] AND ids[cardinality(ids)]);
    END IF;
    IF locking AND cardinality(ids) > 0 THEN
        held := held || ARRAY(SELECT u.id FROM unnest(ids) AS u (id) EXCEPT ALL SELECT l.id FROM (
            SELECT r.id FROM unnest(ids) AS u (id) JOIN :schema.run_requests r ON r.id = ANY (ARRAY[u.id]) FOR UPDATE OF r SKIP LOCKED) l);
    END IF;
    IF cardinality(ids) > 0 THEN  -- in a statement of its own: what ran again before it was locked is seen
        SELECT array_agg(u.id ORDER BY u.id), array_agg(u.status ORDER BY u.id) INTO ids, ends
        FROM unnest(ids, ends) AS u (id, status)
        WHERE u.id <> ALL (held) AND NOT EXISTS (SELECT FROM :schema.jobs j WHERE j.id = u.id)
          AND EXISTS (SELECT FROM :schema.attempts a WHERE a.run_id = u.id AND a.final AND a.finished_at < latest);
    END IF;
    IF seen < most THEN
        last := NULL;
    END IF;
END $$;

-- Remove these runs, which the caller has locked, with their attempts and their log.
CREATE OR REPLACE FUNCTION :schema.remove_ended(ids uuid[], OUT runs integer, OUT attempts integer, OUT lines integer)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM :schema.run_log l USING unnest(ids) AS u (id) WHERE l.run_id = ANY (ARRAY[u.id]);
    GET DIAGNOSTICS lines = ROW_COUNT;
    DELETE FROM :schema.attempts a USING unnest(ids) AS u (id) WHERE a.run_id = ANY (ARRAY[u.id]);
    GET DIAGNOSTICS attempts = ROW_COUNT;
    DELETE FROM :schema.run_requests r USING unnest(ids) AS u (id) WHERE r.id = ANY (ARRAY[u.id]);
    GET DIAGNOSTICS runs = ROW_COUNT;
    PERFORM pg_stat_force_next_flush();  -- a report that is made next has what went now
END $$;

-- One batch: look at the ends of at most so many runs, and remove those that may go (not with `dry`). Answers how many of each status,
-- and where to go on; null: this was the last batch.
CREATE OR REPLACE FUNCTION :schema.prune_batch(
    namespace text, tasks text[], queues text[], statuses text[], ages interval[], after uuid, until uuid, most integer, answered uuid,
    dry boolean,
    OUT ends jsonb, OUT attempts integer, OUT lines integer, OUT last uuid
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    picked record;
    gone   record;
BEGIN
    SELECT * INTO picked FROM :schema.pick_ended(namespace, tasks, queues, statuses, ages, after, until, most, answered, NOT dry);
    last := picked.last;
    ends := (SELECT COALESCE(jsonb_object_agg(e.status, e.n), '{}')
             FROM (SELECT u.status, count(*) AS n FROM unnest(picked.ends) AS u (status) GROUP BY 1) e);
    IF NOT dry AND cardinality(picked.ids) > 0 THEN
        SELECT * INTO gone FROM :schema.remove_ended(picked.ids);
        attempts := gone.attempts; lines := gone.lines;
    END IF;
END $$;

-- A run as it is archived: all that was asked, how it ended, its attempts and its timeline.
CREATE OR REPLACE FUNCTION :schema.archived(id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN (SELECT to_jsonb(r) || jsonb_build_object(
            'attempts', (SELECT COALESCE(jsonb_agg(to_jsonb(a) - 'run_id' ORDER BY a.attempt), '[]') FROM :schema.attempts a WHERE a.run_id = archived.id),
            'events', (SELECT COALESCE(jsonb_agg(to_jsonb(e) - 'run_id' - 'n' ORDER BY e.at, e.attempt NULLS FIRST, e.n), '[]')
                       FROM :schema.run_events e WHERE e.run_id = archived.id))
        FROM :schema.runs r WHERE r.id = archived.id);
END $$;

-- Remove finished runs that ended longer ago than this, at most so many, oldest first: for programs that do so by themselves. Answers how
-- many went, and after which run to go on: call it again with that until it is null.
CREATE OR REPLACE FUNCTION :schema.prune(
    older_than interval, status text[] DEFAULT NULL, task text DEFAULT NULL, queue_name text DEFAULT NULL, namespace text DEFAULT 'default',
    most integer DEFAULT 1000, after uuid DEFAULT NULL, dry_run boolean DEFAULT false
) RETURNS TABLE (runs integer, next uuid) LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    known constant text[] := ARRAY['completed', 'failed', 'cancelled', 'expired'];
    asked text[] := COALESCE(status, ARRAY[NULL::text]);
    batch record;
BEGIN
    IF older_than IS NULL OR older_than <= '0' OR older_than > interval '1000 years' THEN
        PERFORM :schema.refuse_call('older_than', format('is %s', COALESCE(older_than::text, 'null')), 'give how long ago a run must have ended, such as ''90 days''', 'prune');
    ELSIF status = '{}' OR NOT COALESCE(status, known) <@ known THEN
        PERFORM :schema.refuse_call('status', format('is %s', status), 'give some of completed, failed, cancelled, expired, or leave it out', 'prune');
    ELSIF most IS NULL OR most NOT BETWEEN 1 AND 100000 THEN
        PERFORM :schema.refuse_call('most', format('is %s', COALESCE(most::text, 'null')), 'give 1 to 100000', 'prune');
    END IF;
    SELECT * INTO batch FROM :schema.prune_batch(COALESCE(namespace, 'default'), array_fill(task, ARRAY[cardinality(asked)]),
        array_fill(queue_name, ARRAY[cardinality(asked)]), asked, array_fill(older_than, ARRAY[cardinality(asked)]),
        COALESCE(after, '00000000-0000-0000-0000-000000000000'), 'ffffffff-ffff-ffff-ffff-ffffffffffff', most, :schema.first_answered(), COALESCE(dry_run, false));
    RETURN QUERY SELECT COALESCE((SELECT sum(e.value::integer)::integer FROM jsonb_each_text(batch.ends) e), 0), batch.last;
END $$;
COMMENT ON FUNCTION :schema.prune(interval, text[], text, text, text, integer, uuid, boolean) IS
    'Remove finished runs that ended longer ago than this, with their history: looks at no more than `most`, oldest first. Answers how many went (with dry_run: would go), and after which run to go on, null at the end. Example: SELECT * FROM prune(''90 days'', status => ''{completed}'')';

-- What the history takes: rows and dead rows as PostgreSQL's statistics have them, and bytes with indexes. Nothing is counted.
CREATE OR REPLACE FUNCTION :schema.history_sizes() RETURNS TABLE (relation text, rows bigint, dead bigint, bytes bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT regexp_replace(c.relname, '_\d{6}$', ''),
        sum(CASE WHEN COALESCE(s.n_live_tup + s.n_dead_tup, 0) > 0 THEN s.n_live_tup ELSE GREATEST(c.reltuples, 0) END)::bigint,
        COALESCE(sum(s.n_dead_tup), 0)::bigint, sum(pg_total_relation_size(c.oid))::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
    WHERE n.nspname = :'schema' AND c.relkind = 'r'
      AND (c.relname ~ '^(run_requests|attempts|run_log)_\d{6}$' OR c.relname IN ('schedule_ticks', 'idempotency', 'stats'))
    GROUP BY 1 ORDER BY 1
$$;
