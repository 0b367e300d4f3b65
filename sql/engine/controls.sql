-- Control, what was said: limits, rates, fairness and pauses of queues, tasks, concurrency keys and groups. What it leads to is in
-- gates.sql (tasks, keys, groups), rooms.sql (queues) and turns.sql (fairness).

-- What holds: of each value the one that the first of run time, settings and code has said. A pause is said at run time only.
CREATE OR REPLACE VIEW :schema.controls_in_force AS
SELECT c.namespace, c.kind, c.name, c.queue,
    (array_agg(c.concurrency ORDER BY c.rank) FILTER (WHERE c.concurrency IS NOT NULL))[1] AS concurrency,
    (array_agg(c.source ORDER BY c.rank) FILTER (WHERE c.concurrency IS NOT NULL))[1] AS concurrency_from,
    (array_agg(c.rate ORDER BY c.rank) FILTER (WHERE c.rate IS NOT NULL))[1] AS rate,
    (array_agg(c.period ORDER BY c.rank) FILTER (WHERE c.rate IS NOT NULL))[1] AS period,
    (array_agg(c.burst ORDER BY c.rank) FILTER (WHERE c.rate IS NOT NULL))[1] AS burst,
    (array_agg(c.source ORDER BY c.rank) FILTER (WHERE c.rate IS NOT NULL))[1] AS rate_from,
    (array_agg(c.fairness ORDER BY c.rank) FILTER (WHERE c.fairness IS NOT NULL))[1] AS fairness,
    (array_agg(c.source ORDER BY c.rank) FILTER (WHERE c.fairness IS NOT NULL))[1] AS fairness_from,
    (array_agg(c.ageing ORDER BY c.rank) FILTER (WHERE c.ageing IS NOT NULL))[1] AS ageing,
    (array_agg(c.source ORDER BY c.rank) FILTER (WHERE c.ageing IS NOT NULL))[1] AS ageing_from,
    (array_agg(c.weight ORDER BY c.rank) FILTER (WHERE c.weight IS NOT NULL))[1] AS weight,
    (array_agg(c.source ORDER BY c.rank) FILTER (WHERE c.weight IS NOT NULL))[1] AS weight_from,
    max(c.paused_until) FILTER (WHERE c.paused_until > statement_timestamp()) AS paused_until,
    max(c.reason) FILTER (WHERE c.paused_until > statement_timestamp()) AS reason
FROM (SELECT k.*, CASE k.source WHEN 'run time' THEN 1 WHEN 'settings' THEN 2 ELSE 3 END AS rank FROM :schema.controls k) c
GROUP BY c.namespace, c.kind, c.name, c.queue;
COMMENT ON VIEW :schema.controls_in_force IS
    'The limits, rates, fairness and pauses that hold, and who said each: run time wins over settings, settings over code.';

-- The name under which slots, openings and gates know something that is controlled.
CREATE OR REPLACE FUNCTION :schema.scope_of(kind text, name text, queue text DEFAULT '') RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE $1 WHEN 'group' THEN 'group ' || jsonb_build_array($3, $2)::text ELSE $1 || ' ' || $2 END
$$;

-- Note of lanes that jobs come back to places in them which reading has passed: claims there look at more than what is next in line, as
-- long as the lane is in use.
CREATE OR REPLACE FUNCTION :schema.note_returning(namespace text, queues text[], priorities smallint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO :schema.lanes (namespace, queue, priority, back, returns)
    SELECT DISTINCT note_returning.namespace, p.queue, p.priority, true, pg_current_xact_id()::text::bigint FROM unnest(queues, priorities) AS p (queue, priority)
    WHERE NOT EXISTS (SELECT FROM :schema.lanes l WHERE l.namespace = note_returning.namespace AND l.queue = p.queue
                      AND l.priority = p.priority AND l.back AND l.retired IS NULL);
END $$;

-- Does anything in this namespace need more of a claim than the next jobs in line? A pause that is over does not.
CREATE OR REPLACE FUNCTION :schema.governed(namespace text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = $1 AND (c.paused_until > statement_timestamp()
            OR num_nonnulls(c.concurrency, c.rate, c.fairness, c.ageing, c.weight) > 0))
        OR EXISTS (SELECT FROM :schema.lanes l WHERE l.namespace = $1 AND l.back)
        OR EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = $1)
$$;

-- The first fault of a change as (field, problem, remedy), or nothing.
CREATE OR REPLACE FUNCTION :schema.find_control_fault(kind text, name text, change jsonb, queue text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known constant text[] := CASE kind WHEN 'all' THEN '{paused_until,reason}'
        WHEN 'queue' THEN '{concurrency,rate,period,burst,fairness,ageing,paused_until,reason}'
        WHEN 'group' THEN '{weight,paused_until,reason}'
        WHEN 'key' THEN '{concurrency,rate,period,burst}' ELSE '{concurrency,rate,period,burst,paused_until,reason}' END;
    wrong text;
BEGIN
    IF kind IS NULL OR kind NOT IN ('all', 'queue', 'task', 'key', 'group') THEN
        RETURN ARRAY['kind', format('is %L', kind), 'give all, queue, task, key or group'];
    ELSIF name IS NULL OR (name = '') <> (kind = 'all') OR length(name) > 500 THEN
        RETURN ARRAY['name', 'must be a name of 1 to 500 characters', 'say which ' || kind || ' is meant; all has none'];
    ELSIF queue IS NULL OR (queue = '') = (kind = 'group') OR length(queue) > 200 THEN
        RETURN ARRAY['queue', 'is for groups, and for each of them', 'a group is one of a queue'];
    ELSIF kind = 'queue' AND name = '*' OR queue = '*' THEN
        RETURN ARRAY[CASE kind WHEN 'queue' THEN 'name' ELSE 'queue' END, 'is *, which no queue is called', 'say which queue; what is paused as a whole is all'];
    ELSIF jsonb_typeof(change) IS DISTINCT FROM 'object' THEN
        RETURN ARRAY['change', 'must be a JSON object', 'pass {"concurrency": 5}, for example'];
    END IF;
    wrong := (SELECT k FROM jsonb_object_keys(change) k WHERE k <> ALL (known) ORDER BY 1 LIMIT 1);
    IF wrong IS NOT NULL THEN
        RETURN ARRAY[wrong, format('cannot be said of a %s', kind), 'what can: ' || array_to_string(known, ', ')];
    END IF;
    wrong := (SELECT e.key FROM jsonb_each(change) e WHERE jsonb_typeof(e.value) <> 'null' AND CASE
        WHEN e.key IN ('concurrency', 'rate', 'burst') THEN jsonb_typeof(e.value) <> 'number'
            OR (e.value::text)::numeric NOT BETWEEN CASE e.key WHEN 'concurrency' THEN 0 ELSE 1 END AND 1000000000
            OR (e.value::text)::numeric % 1 <> 0
        WHEN e.key = 'weight' THEN jsonb_typeof(e.value) <> 'number' OR (e.value::text)::numeric NOT BETWEEN 0.001 AND 1000
        ELSE jsonb_typeof(e.value) <> 'string' END ORDER BY 1 LIMIT 1);
    IF wrong IS NOT NULL THEN
        RETURN ARRAY[wrong, format('is %s', change -> wrong), CASE wrong WHEN 'concurrency' THEN 'give how many may run at once, 0 or more'
            WHEN 'weight' THEN 'give 0.001 to 1000' WHEN 'rate' THEN 'give how many may start in the period, 1 or more'
            WHEN 'burst' THEN 'give how many may start at once, 1 or more' ELSE 'give a string' END];
    ELSIF change ->> 'fairness' NOT IN ('strict', 'round_robin', 'weighted') THEN
        RETURN ARRAY['fairness', format('is %L', change ->> 'fairness'), 'give strict, round_robin or weighted'];
    ELSIF (change ->> 'rate' IS NULL) <> (change ->> 'period' IS NULL) THEN
        RETURN ARRAY['rate', 'and period belong together', 'give both, such as {"rate": 100, "period": "1 minute"}, or null for both'];
    END IF;
    RETURN NULL;
END $$;

-- Say what holds for a queue, a task, a concurrency key or a group (of a queue); at once, for all workers. To say what is said already
-- changes nothing, and tells nobody.
--   change   {"concurrency", "rate", "period", "burst", "fairness", "ageing", "weight", "paused_until", "reason"}: what is named is
--            said anew, null takes it back, what is not named stays; a rate goes with its period and burst
CREATE OR REPLACE FUNCTION :schema.set_control(
    kind text, name text, change jsonb, queue text DEFAULT '', namespace text DEFAULT 'default', source text DEFAULT 'run time'
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    fault text[];
    scope text;
    before :schema.controls_in_force;
    holds  :schema.controls_in_force;
    c :schema.controls;
    was :schema.controls;
    same boolean;
BEGIN
    queue := COALESCE(queue, ''); namespace := COALESCE(namespace, 'default'); source := COALESCE(source, 'run time');
    fault := CASE WHEN source NOT IN ('run time', 'settings', 'code') THEN ARRAY['source', format('is %L', source), 'give run time, settings or code']
        WHEN namespace = '' OR length(namespace) > 200 THEN ARRAY['namespace', 'must be a name of 1 to 200 characters', 'leave it out for the default one']
        WHEN source <> 'run time' AND (change ->> 'paused_until' IS NOT NULL OR change ->> 'reason' IS NOT NULL)
            THEN ARRAY['paused_until', 'is said at run time only', 'leave source out']
        ELSE :schema.find_control_fault(kind, name, change, queue) END;
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse(fault[1], fault[2], fault[3], concat_ws(' ', kind, name));
    END IF;
    scope := :schema.scope_of(kind, name, queue);
    LOOP  -- somebody may take all back between the two
        INSERT INTO :schema.controls (namespace, kind, name, queue, source) VALUES (namespace, kind, name, queue, source) ON CONFLICT DO NOTHING;
        SELECT * INTO c FROM :schema.controls k WHERE k.namespace = set_control.namespace AND k.kind = set_control.kind
            AND k.name = set_control.name AND k.queue = set_control.queue AND k.source = set_control.source FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    SELECT * INTO before FROM :schema.controls_in_force f WHERE f.namespace = set_control.namespace AND f.kind = set_control.kind
        AND f.name = set_control.name AND f.queue = set_control.queue;
    was := c;
    IF 'null' IN (change -> 'rate', change -> 'period') THEN  -- a rate is one value, with its period and its burst
        change := '{"burst": null}' || change || '{"rate": null, "period": null}';
    END IF;
    BEGIN
        c := jsonb_populate_record(c, change || jsonb_build_object('changed_at', clock_timestamp()) || COALESCE((
            SELECT jsonb_object_agg(e.key, trunc((e.value::text)::numeric)) FROM jsonb_each(change) e  -- 5.0 is whole, too
            WHERE e.key IN ('concurrency', 'rate', 'burst') AND jsonb_typeof(e.value) = 'number'), '{}'));
    EXCEPTION WHEN data_exception THEN
        PERFORM :schema.refuse_span(change, kind || ' ' || name);
        RAISE;
    END;
    -- No more than a client can read: it would break the list of all that holds.
    IF c.paused_until <> 'infinity' AND c.paused_until NOT BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00' THEN
        PERFORM :schema.refuse('paused_until', format('is %s', c.paused_until), 'give a time before the year 9999, or "infinity"', kind || ' ' || name);
    ELSIF change ->> 'paused_until' IS NOT NULL AND c.paused_until <= statement_timestamp() THEN
        PERFORM :schema.refuse('paused_until', format('is %s, which has passed', c.paused_until), 'give a time to come, or null to end the pause', kind || ' ' || name);
    ELSIF NOT (c.period > interval '0' AND c.period <= interval '36525000 days' AND c.ageing > interval '0' AND c.ageing <= interval '36525000 days') THEN
        PERFORM :schema.refuse(CASE WHEN NOT (c.period > interval '0' AND c.period <= interval '36525000 days') THEN 'period' ELSE 'ageing' END,
                               'is not longer than nothing, or longer than a hundred thousand years', 'give a span of time, such as "1 minute"', kind || ' ' || name);
    END IF;
    IF c.rate IS NULL AND change ->> 'burst' IS NOT NULL THEN
        PERFORM :schema.refuse('burst', 'belongs to a rate, and none is said', 'give the rate with it: {"rate": 100, "period": "1 minute", "burst": 20}', kind || ' ' || name);
    END IF;
    same := (c.concurrency, c.rate, c.period, c.burst, c.fairness, c.ageing, c.weight, c.paused_until, c.reason) IS NOT DISTINCT FROM
        (was.concurrency, was.rate, was.period, was.burst, was.fairness, was.ageing, was.weight, was.paused_until, was.reason);
    UPDATE :schema.controls k SET concurrency = c.concurrency, rate = c.rate, period = c.period, burst = c.burst,
        fairness = c.fairness, ageing = c.ageing, weight = c.weight, paused_until = c.paused_until, reason = c.reason,
        changed_at = c.changed_at
    WHERE NOT same AND k.namespace = c.namespace AND k.kind = c.kind AND k.name = c.name AND k.queue = c.queue AND k.source = c.source;
    DELETE FROM :schema.controls k WHERE k.namespace = c.namespace AND k.kind = c.kind AND k.name = c.name AND k.queue = c.queue
        AND k.source = c.source AND k.concurrency IS NULL AND k.rate IS NULL AND k.fairness IS NULL AND k.ageing IS NULL
        AND k.weight IS NULL AND k.paused_until IS NULL;
    IF same THEN
        RETURN;
    END IF;
    SELECT * INTO holds FROM :schema.controls_in_force f WHERE f.namespace = set_control.namespace AND f.kind = set_control.kind
        AND f.name = set_control.name AND f.queue = set_control.queue;
    IF before.concurrency IS NULL AND c.concurrency IS NOT NULL AND kind IN ('queue', 'task') THEN
        PERFORM :schema.count_running(namespace, kind, name);
    END IF;
    IF kind = 'queue' AND change ? 'fairness' AND COALESCE(holds.fairness, 'strict') = 'strict' THEN
        PERFORM :schema.end_turns(namespace, name);
    ELSIF kind = 'queue' AND holds.fairness <> before.fairness THEN
        PERFORM :schema.share_anew(namespace, name, ARRAY(
            SELECT f.name FROM :schema.controls_in_force f WHERE f.namespace = set_control.namespace AND f.kind = 'group'
              AND f.queue = set_control.name AND f.weight IS NOT NULL));
    ELSIF kind = 'group' AND source = 'run time' AND holds.weight IS DISTINCT FROM before.weight THEN  -- the others: publish_controls
        PERFORM :schema.share_anew(namespace, queue, ARRAY[name]);
    END IF;
    -- Whoever waits at this gate is looked at anew: now, and when a pause ends.
    INSERT INTO :schema.openings (namespace, scope, at) SELECT namespace, scope, v.at
    FROM (VALUES (clock_timestamp()), (c.paused_until)) AS v (at) WHERE v.at < 'infinity';
    PERFORM pg_notify(:'schema', jsonb_build_object('namespace', namespace, 'control', scope, 'ready', '[]'::jsonb)::text);
END $$;
COMMENT ON FUNCTION :schema.set_control(text, text, jsonb, text, text, text) IS
    'Say what holds for a queue, task, concurrency key or group; null takes it back. Example: SELECT set_control(''queue'', ''mail'', ''{"concurrency": 5, "rate": 100, "period": "1 minute"}'')';

-- Of a change's times some could not be read: raise which.
CREATE OR REPLACE FUNCTION :schema.refuse_span(change jsonb, place text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    field record;
BEGIN
    FOR field IN SELECT * FROM (VALUES ('period', 'interval', 'give a span of time, such as "1 minute"'),
        ('ageing', 'interval', 'give a span of time, such as "5 minutes"'),
        ('paused_until', 'timestamptz', 'give a time, such as "2030-12-24 18:00+01", or "infinity"')) AS v (name, type, remedy)
    LOOP
        BEGIN
            EXECUTE format('SELECT $1::%s', field.type) USING change ->> field.name;
        EXCEPTION WHEN data_exception THEN
            PERFORM :schema.refuse(field.name, format('is %s', change -> field.name), field.remedy, place);
        END;
    END LOOP;
END $$;

-- Jobs that run already when a limit is said count, too. (One that is claimed in this very moment may not: it counts for nothing.)
CREATE OR REPLACE FUNCTION :schema.count_running(namespace text, kind text, name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    flag    smallint := CASE kind WHEN 'queue' THEN 1 ELSE 2 END;
    running integer;
BEGIN
    PERFORM pg_advisory_xact_lock(:schema.slots_key(namespace, kind || ' ' || name));  -- claims wait for nobody who makes the row
    INSERT INTO :schema.slots (namespace, scope) VALUES (namespace, kind || ' ' || name) ON CONFLICT DO NOTHING;
    PERFORM FROM :schema.slots s WHERE s.namespace = count_running.namespace AND s.scope = kind || ' ' || name FOR UPDATE;
    WITH held AS MATERIALIZED (
        SELECT j.id FROM :schema.jobs j
        WHERE j.id IN (SELECT unnest(:schema.held_jobs(w.worker)) FROM (SELECT DISTINCT c.worker FROM :schema.claims c
                                                                        WHERE c.namespace = count_running.namespace) w)
          AND CASE kind WHEN 'queue' THEN j.queue ELSE j.task END = name AND j.slots & flag = 0 AND j.worker <> :schema.nobody()
        ORDER BY j.id FOR UPDATE SKIP LOCKED
    ), counted AS (
        UPDATE :schema.jobs j SET slots = j.slots | flag FROM held h WHERE j.id = h.id RETURNING 1
    ) SELECT count(*) INTO running FROM counted;
    UPDATE :schema.slots s SET used = s.used + running WHERE s.namespace = count_running.namespace AND s.scope = kind || ' ' || name;
END $$;
