-- Ticks: a time of a schedule is decided once, in the transaction that enqueues its run. Whoever decides holds the schedule's row; the
-- key of schedule_ticks is (schedule, time), so whatever else fails, nothing is enqueued twice for one time.

-- The unfinished runs of a schedule's ticks, backfilled ones left out. The newest few runs are looked at, and only if all of
-- these are unfinished the many before: under every policy but allow a new run comes when the older ones are over.
CREATE OR REPLACE FUNCTION :schema.unfinished_ticks(namespace text, schedule text, most integer DEFAULT 8) RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found_ids uuid[] := ARRAY(
        SELECT t.run_id FROM (SELECT t.run_id FROM :schema.schedule_ticks t
                              WHERE t.namespace = unfinished_ticks.namespace AND t.schedule = unfinished_ticks.schedule
                                AND t.run_id IS NOT NULL AND NOT t.backfill
                              ORDER BY t.run_id DESC LIMIT unfinished_ticks.most) t
        WHERE EXISTS (SELECT FROM :schema.jobs j WHERE j.id = t.run_id));
BEGIN
    IF cardinality(found_ids) >= most AND most < 10000 THEN
        RETURN :schema.unfinished_ticks(namespace, schedule, 10000);
    END IF;
    RETURN found_ids;
END $$;

-- Decide what becomes of a tick of a schedule by its overlap policy: fire | wait | overlap. busy: an earlier tick of the same batch
-- fires. Runs to be cancelled for it are cancelled now; of those that a waiting tick waits for, the end will be told.
CREATE OR REPLACE FUNCTION :schema.decide_overlap(s :schema.schedules, busy boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unfinished uuid[];
BEGIN
    IF s.overlap = 'allow' THEN
        RETURN 'fire';
    END IF;
    unfinished := :schema.unfinished_ticks(s.namespace, s.key);
    IF s.overlap = 'cancel_previous' THEN
        PERFORM :schema.cancel_run(u.id, format('the next run of schedule %s is due', s.key)) FROM (SELECT unnest(unfinished) AS id ORDER BY 1) u;
        RETURN 'fire';
    ELSIF s.overlap = 'queue' AND s.waiting IS NOT NULL THEN
        RETURN 'overlap';
    ELSIF NOT busy AND cardinality(unfinished) = 0 THEN
        RETURN 'fire';
    ELSIF s.overlap = 'queue' THEN
        UPDATE :schema.jobs j SET awaited = true
        WHERE j.id = ANY (ARRAY(SELECT l.id FROM :schema.jobs l WHERE l.id = ANY (unfinished) AND NOT l.awaited FOR UPDATE SKIP LOCKED));
        RETURN 'wait';
    END IF;
    RETURN 'overlap';
END $$;

-- Enqueue the runs of ticks, each {"at", "run_at", "number", "previous", "catch_up", "backfill", "manual"}, of the schedules of these
-- keys, and store the ticks. Called by who holds the rows of the schedules; all or nothing. Answers the runs' ids.
CREATE OR REPLACE FUNCTION :schema.enqueue_ticks(namespace text, keys text[], ticks jsonb[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    a   record;
    ids uuid[];
BEGIN
    IF cardinality(keys) = 0 THEN
        RETURN '{}';
    END IF;
    WITH asked AS MATERIALIZED (
        SELECT u.i, u.tick, s.*, GREATEST((u.tick ->> 'run_at')::timestamptz, statement_timestamp()) AS run_at
        FROM unnest(keys, ticks) WITH ORDINALITY AS u (key, tick, i)
        CROSS JOIN LATERAL (SELECT s.* FROM :schema.schedules s WHERE s.namespace = enqueue_ticks.namespace AND s.key = u.key OFFSET 0) s
    ), tasks AS MATERIALIZED (
        SELECT t.task, c.queue, c.priority, c.max_attempts, COALESCE(c.options, '{}') AS options
        FROM (SELECT DISTINCT a.task FROM asked a) t
        LEFT JOIN LATERAL (SELECT c.* FROM :schema.catalog c WHERE c.namespace = enqueue_ticks.namespace AND c.task = t.task
                           ORDER BY c.seen_at DESC LIMIT 1) c ON true
    )
    SELECT array_agg(a.task ORDER BY a.i) AS tasks, array_agg(a.input ORDER BY a.i) AS inputs,
        array_agg(COALESCE(a.queue, t.queue, 'default') ORDER BY a.i) AS queues,
        array_agg(COALESCE(a.priority, t.priority, 0)::integer ORDER BY a.i) AS priorities,
        array_agg(COALESCE(a.max_attempts, t.max_attempts, 25)::integer ORDER BY a.i) AS tries,
        array_agg(a.run_at ORDER BY a.i) AS run_ats,
        array_agg(a.run_at + COALESCE(a.deadline, (t.options ->> 'deadline')::double precision * interval '1 second') ORDER BY a.i) AS deadlines,
        array_agg(CASE WHEN jsonb_typeof(t.options -> 'meta') = 'object' THEN t.options -> 'meta' ELSE '{}' END || COALESCE(a.meta, '{}')
            || jsonb_build_object('openqueue.tick', a.tick - 'run_at' || jsonb_build_object('schedule', a.key)) ORDER BY a.i) AS metas,
        array_agg(CASE WHEN jsonb_typeof(t.options -> 'tags') = 'array' THEN t.options -> 'tags' ELSE '[]' END
            || COALESCE(to_jsonb(a.tags), '[]') ORDER BY a.i) AS tags,
        CASE WHEN count(a.concurrency_key) > 0 THEN array_agg(a.concurrency_key ORDER BY a.i) END AS concurrency_keys
    INTO a FROM asked a JOIN tasks t ON t.task = a.task;
    -- A single element would stand for all.
    ids := ARRAY(SELECT b.id FROM :schema.add_batch(a.tasks, a.inputs, enqueue_ticks.namespace, queues => a.queues, priorities => a.priorities,
        max_attempts => a.tries, run_ats => a.run_ats, deadlines => a.deadlines, metas => a.metas, tags => a.tags,
        concurrency_keys => a.concurrency_keys) b ORDER BY b.ordinal);
    INSERT INTO :schema.schedule_ticks (namespace, schedule, at, fired_at, run_id, number, catch_up, backfill, manual)
    SELECT enqueue_ticks.namespace, u.key, (u.tick ->> 'at')::timestamptz, clock_timestamp(), u.id, (u.tick ->> 'number')::bigint,
        COALESCE((u.tick ->> 'catch_up')::boolean, false), COALESCE((u.tick ->> 'backfill')::boolean, false),
        COALESCE((u.tick ->> 'manual')::boolean, false)
    FROM unnest(keys, ticks, ids) AS u (key, tick, id);
    RETURN ids;
END $$;

-- Decide what is due of some schedules, and enqueue it: the leader's call. Each element says how far one schedule goes:
--   {"key", "revision", "from": the cursor that it started from, "cursor", "next_at", "error", "ticks": [{"at", "run_at", "previous",
--    "catch_up", "backfill"}], "skipped": [{"reason", "count", "first", "last"}]}
-- A schedule that was edited or moved on meanwhile, or that somebody has locked just now, is left alone: stale. A tick that was
-- decided before is repeated. error: the ticks could not be enqueued; they are history as failed, and the schedule goes on.
-- Backfilled ticks are decided without regard to overlap, and move nothing. No tick is decided before its time by this clock: who is
-- ahead by less than 100 ms is held back, who is further ahead finds its schedule stale; "early": true is for a clock that tests bring. Answers one row a tick, and one for each stale schedule
-- and each one without ticks (moved): fired | waiting | overlap | failed | repeated | stale | moved.
CREATE OR REPLACE FUNCTION :schema.fire_ticks(namespace text, advances jsonb)
RETURNS TABLE (key text, at timestamptz, outcome text, run_id uuid, fired bigint)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    item    record;
    s       :schema.schedules;
    verdict text;
    stuck   boolean;
    fresh   bigint;
    tick    jsonb;
    keys text[] := '{}'; ticks jsonb[] := '{}';  -- what is enqueued
    told_keys text[] := '{}'; told_ats timestamptz[] := '{}'; verdicts text[] := '{}'; places integer[] := '{}'; counts bigint[] := '{}';
    moved text[] := '{}'; cursors timestamptz[] := '{}'; nexts timestamptz[] := '{}'; errors text[] := '{}';
    added bigint[] := '{}'; waits jsonb[] := '{}';
    ids  uuid[];
    ahead interval;
BEGIN
    ahead := (SELECT max(a.cursor) FROM jsonb_to_recordset(advances) AS a ("from" timestamptz, cursor timestamptz, early boolean)
              WHERE a.early IS NOT TRUE AND a.cursor IS DISTINCT FROM a."from") - clock_timestamp();
    IF ahead > interval '0' THEN
        PERFORM pg_sleep_for(LEAST(ahead, interval '100 milliseconds'));
    END IF;
    FOR item IN
        SELECT a.key, a.error, a.cursor, a.next_at, o.row, t.tick, t.at, t.n, COALESCE(jsonb_array_length(a.ticks), 0) AS total,
            EXISTS (SELECT FROM :schema.schedule_ticks k WHERE k.namespace = fire_ticks.namespace AND k.schedule = a.key AND k.at = t.at) AS known
        FROM jsonb_to_recordset(advances) AS a
            (key text, revision bigint, "from" timestamptz, cursor timestamptz, next_at timestamptz, error text, early boolean, ticks jsonb)
        CROSS JOIN LATERAL (SELECT o AS row FROM :schema.schedules o
                            WHERE o.namespace = fire_ticks.namespace AND o.key = a.key AND o.revision = a.revision
                              AND o.cursor_at IS NOT DISTINCT FROM a."from"
                              AND (a.early OR COALESCE(a.cursor <= clock_timestamp(), true) OR a.cursor = o.cursor_at) FOR UPDATE SKIP LOCKED) o
        LEFT JOIN LATERAL (SELECT e.tick, e.n, (e.tick ->> 'at')::timestamptz AS at
                           FROM jsonb_array_elements(a.ticks) WITH ORDINALITY AS e (tick, n)) t ON true
        ORDER BY a.key, t.n
    LOOP
        IF COALESCE(item.n, 1) = 1 THEN
            s := item.row; fresh := 0; stuck := false;
        END IF;
        CONTINUE WHEN stuck;
        tick := item.tick;
        verdict := CASE WHEN tick IS NULL THEN 'moved' WHEN item.known THEN 'repeated' WHEN item.error IS NOT NULL THEN 'failed'
            WHEN s.overlap = 'allow' OR tick ? 'backfill' THEN 'fire'
            WHEN s.overlap = 'cancel_previous' AND item.n < item.total THEN 'overlap' END;
        IF verdict IS NULL THEN
            BEGIN
                PERFORM set_config('lock_timeout', '200ms', true);
                verdict := :schema.decide_overlap(s, fresh > 0);
                PERFORM set_config('lock_timeout', '0', true);
            EXCEPTION WHEN lock_not_available THEN  -- somebody has locked a run that is to be cancelled: again, soon
                stuck := true;
                CONTINUE;
            END;
        END IF;
        IF verdict IN ('fire', 'wait') AND NOT tick ? 'backfill' THEN
            fresh := fresh + 1;
            tick := tick || jsonb_build_object('number', s.fired + fresh);
        END IF;
        IF verdict = 'fire' THEN
            keys := keys || s.key; ticks := ticks || tick;
        ELSIF verdict = 'wait' THEN
            s.waiting := tick;
        ELSIF verdict IN ('overlap', 'failed') THEN
            INSERT INTO :schema.schedule_ticks (namespace, schedule, at, fired_at, catch_up, backfill, skipped, error)
            VALUES (s.namespace, s.key, item.at, clock_timestamp(), COALESCE((tick ->> 'catch_up')::boolean, false), tick ? 'backfill', verdict, item.error);
        END IF;
        told_keys := told_keys || s.key; told_ats := told_ats || item.at; counts := counts || (s.fired + fresh);
        verdicts := verdicts || CASE verdict WHEN 'fire' THEN 'fired' WHEN 'wait' THEN 'waiting' ELSE verdict END;
        places := places || CASE verdict WHEN 'fire' THEN cardinality(keys) END;
        IF COALESCE(item.n, 0) = item.total THEN
            moved := moved || s.key; cursors := cursors || item.cursor; nexts := nexts || item.next_at; errors := errors || item.error;
            added := added || fresh; waits := waits || s.waiting;
        END IF;
    END LOOP;
    IF advances @? '$[*].skipped[0]' THEN
        INSERT INTO :schema.schedule_ticks (namespace, schedule, at, fired_at, skipped, missed, missed_from)
        SELECT fire_ticks.namespace, a.key, k.last, clock_timestamp(), k.reason, k.count, k.first
        FROM jsonb_to_recordset(advances) AS a (key text, skipped jsonb)
        CROSS JOIN jsonb_to_recordset(COALESCE(a.skipped, '[]')) AS k (reason text, count bigint, first timestamptz, last timestamptz)
        WHERE a.key = ANY (moved)
        ON CONFLICT DO NOTHING;
    END IF;
    ids := :schema.enqueue_ticks(namespace, keys, ticks);
    UPDATE :schema.schedules o SET cursor_at = m.cursor, next_at = m.next_at, fired = o.fired + m.added, waiting = m.waiting,
        last_error = COALESCE(m.error, CASE WHEN m.added = 0 THEN o.last_error END),
        failed_at = CASE WHEN m.error IS NOT NULL THEN clock_timestamp() WHEN m.added = 0 THEN o.failed_at END
    FROM (SELECT m.*, x.ctid AS place
          FROM unnest(moved, cursors, nexts, errors, added, waits) AS m (key, cursor, next_at, error, added, waiting)
          CROSS JOIN LATERAL (SELECT x.ctid FROM :schema.schedules x WHERE x.namespace = fire_ticks.namespace AND x.key = m.key OFFSET 0) x) m
    WHERE o.ctid = m.place;  -- locked above
    RETURN QUERY SELECT u.key, u.at, u.verdict, ids[u.place], u.fired
    FROM unnest(told_keys, told_ats, verdicts, places, counts) AS u (key, at, verdict, place, fired);
    IF cardinality(moved) < jsonb_array_length(advances) THEN
        RETURN QUERY SELECT a.key, NULL::timestamptz, 'stale', NULL::uuid, NULL::bigint
        FROM (SELECT a.key FROM jsonb_to_recordset(advances) AS a (key text) EXCEPT SELECT unnest(moved)) a;
    END IF;
END $$;

-- Enqueue the ticks that have waited for the run before them (overlap queue), where it is over. Answers (key, at, run); run is
-- null where the tick was decided otherwise meanwhile, or could not be enqueued.
CREATE OR REPLACE FUNCTION :schema.release_ticks(namespace text)
RETURNS TABLE (key text, at timestamptz, run_id uuid) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s   :schema.schedules;
    ids uuid[];
BEGIN
    FOR s IN SELECT o.* FROM :schema.schedules o WHERE o.namespace = release_ticks.namespace AND o.waiting IS NOT NULL
             ORDER BY o.key FOR UPDATE SKIP LOCKED
    LOOP
        CONTINUE WHEN s.overlap = 'queue' AND cardinality(:schema.unfinished_ticks(s.namespace, s.key)) > 0;
        UPDATE :schema.schedules o SET waiting = NULL WHERE o.namespace = s.namespace AND o.key = s.key;
        ids := '{}';
        BEGIN
            IF NOT EXISTS (SELECT FROM :schema.schedule_ticks t
                           WHERE t.namespace = s.namespace AND t.schedule = s.key AND t.at = (s.waiting ->> 'at')::timestamptz) THEN
                ids := :schema.enqueue_ticks(s.namespace, ARRAY[s.key], ARRAY[s.waiting]);
            END IF;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
            INSERT INTO :schema.schedule_ticks (namespace, schedule, at, fired_at, skipped, error)
            VALUES (s.namespace, s.key, (s.waiting ->> 'at')::timestamptz, clock_timestamp(), 'failed', SQLERRM) ON CONFLICT DO NOTHING;
            UPDATE :schema.schedules o SET last_error = SQLERRM, failed_at = clock_timestamp() WHERE o.namespace = s.namespace AND o.key = s.key;
        END;
        RETURN QUERY SELECT s.key, (s.waiting ->> 'at')::timestamptz, ids[1];
    END LOOP;
END $$;

-- Fire a schedule now, also one that is paused or whose time is over. Its overlap policy holds: fired | waiting | overlap. The
-- cursor is not moved, and the run does not count for max_runs.
CREATE OR REPLACE FUNCTION :schema.run_schedule_now(key text, namespace text DEFAULT 'default')
RETURNS TABLE (outcome text, run_id uuid) LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_variable
DECLARE
    s       :schema.schedules := :schema.lock_schedule(namespace, key);
    moment  timestamptz := clock_timestamp();
    verdict text := :schema.decide_overlap(s, false);
    tick    jsonb;
    ids     uuid[];
BEGIN
    WHILE EXISTS (SELECT FROM :schema.schedule_ticks t WHERE t.namespace = s.namespace AND t.schedule = s.key AND t.at = moment) LOOP
        moment := moment + interval '1 microsecond';
    END LOOP;
    tick := jsonb_build_object('at', moment, 'previous', s.cursor_at, 'manual', true);
    IF verdict = 'fire' THEN
        ids := :schema.enqueue_ticks(s.namespace, ARRAY[s.key], ARRAY[tick]);
    ELSIF verdict = 'wait' THEN
        UPDATE :schema.schedules o SET waiting = tick, revision = nextval(:'schema.schedule_revision'::regclass)
        WHERE o.namespace = s.namespace AND o.key = s.key;
        PERFORM :schema.announce_schedules(namespace, ARRAY[key]);
    ELSE
        INSERT INTO :schema.schedule_ticks (namespace, schedule, at, fired_at, manual, skipped) VALUES (s.namespace, s.key, moment, moment, true, verdict);
    END IF;
    RETURN QUERY SELECT CASE verdict WHEN 'fire' THEN 'fired' WHEN 'wait' THEN 'waiting' ELSE verdict END, ids[1];
END $$;
COMMENT ON FUNCTION :schema.run_schedule_now(text, text) IS
    'Fire a schedule now, in this transaction: fired with the run''s id | waiting | overlap. Example: SELECT * FROM run_schedule_now(''nightly'')';

-- A schedule cannot be computed: say why, unless it has been edited meanwhile.
CREATE OR REPLACE FUNCTION :schema.mark_schedule(namespace text, key text, revision bigint, reason text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    UPDATE :schema.schedules s SET invalid = reason, next_at = NULL
    WHERE s.namespace = mark_schedule.namespace AND s.key = mark_schedule.key AND s.revision = mark_schedule.revision;
    RETURN FOUND;
END $$;
