-- Schedules: added, edited, paused, removed. What a cron expression means is judged where it is computed (Python): one that cannot be
-- computed is marked invalid, with the reason, and fires nothing until it is edited. The leader hears of every change at once.

-- Tell the leader which schedules have changed (NULL: look at all). Payload: {"schedules": [key, …] or "*", "namespace": …}.
CREATE OR REPLACE FUNCTION :schema.announce_schedules(namespace text, keys text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    told jsonb := to_jsonb(keys);
BEGIN
    IF keys IS NULL OR octet_length(told::text) > 6000 THEN
        told := '"*"';
    END IF;
    IF cardinality(keys) > 0 OR keys IS NULL THEN
        PERFORM pg_notify(:'schema', jsonb_build_object('schedules', told, 'namespace', namespace)::text);
    END IF;
END $$;

-- The first fault of a schedule as (field, problem, remedy), or nothing.
CREATE OR REPLACE FUNCTION :schema.find_schedule_fault(s :schema.schedules) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM statement_timestamp() AT TIME ZONE s.timezone;
    RETURN CASE
        WHEN s.namespace IS NULL OR s.namespace = '' OR length(s.namespace) > 200
            THEN ARRAY['namespace', 'must be a name of 1 to 200 characters', 'leave it out for the default one']
        WHEN s.key IS NULL OR s.key = '' OR length(s.key) > 200
            THEN ARRAY['key', 'must be a name of 1 to 200 characters', 'it names the schedule in its namespace']
        WHEN s.task IS NULL OR s.task = '' OR length(s.task) > 200
            THEN ARRAY['task', 'must be a name of 1 to 200 characters', 'a task is named module.function']
        WHEN s.input IS NULL OR jsonb_typeof(s.input) <> 'object'
            THEN ARRAY['payload', 'must be a JSON object of arguments', 'pass {"argument": value, ...}']
        WHEN octet_length(s.input::text) > 1048576
            THEN ARRAY['payload', format('has %s bytes, the limit is 1048576', octet_length(s.input::text)),
                       'store large data elsewhere and pass a reference to it']
        WHEN s.cron IS NOT NULL AND s.every IS NOT NULL
            THEN ARRAY['every', 'cannot be combined with cron', 'give one of them']
        WHEN s.cron IS NULL AND s.every IS NULL
            THEN ARRAY['cron', 'is missing, and so is every', 'give one of them, such as cron => ''0 2 * * *'' or every => ''15 minutes''']
        WHEN s.cron = '' OR length(s.cron) > 500
            THEN ARRAY['cron', 'must be an expression of 1 to 500 characters', 'such as ''0 2 * * *'', or ''@daily''']
        WHEN s.every NOT BETWEEN interval '1 second' AND interval '3660 days' OR extract(year FROM s.every) <> 0 OR extract(month FROM s.every) <> 0
            THEN ARRAY['every', format('is %s', s.every), 'give a second to 3660 days, without months or years, whose length differs: those are for cron']
        WHEN s.timezone IS NULL
            THEN ARRAY['timezone', 'is missing', 'name a place, such as Europe/Berlin, or leave it out for UTC']
        WHEN s.end_at < s.start_at
            THEN ARRAY['end_at', format('is %s, before start_at (%s)', s.end_at, s.start_at), 'give a later end_at, or an earlier start_at']
        WHEN NOT isfinite(s.start_at) OR NOT s.start_at BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00'
            THEN ARRAY['start_at', format('is %s', s.start_at), 'give a time before the year 9999, or leave it out']
        WHEN NOT isfinite(s.end_at) OR NOT s.end_at BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00'
            THEN ARRAY['end_at', format('is %s', s.end_at), 'give a time before the year 9999, or leave it out for none']
        WHEN s.max_runs NOT BETWEEN 1 AND 2147483647
            THEN ARRAY['max_runs', format('is %s', s.max_runs), 'give 1 to 2147483647, or leave it out for no limit']
        WHEN s.catch_up IS NULL OR s.catch_up NOT BETWEEN 0 AND 1000
            THEN ARRAY['catch_up', format('is %s', s.catch_up), 'give 0 to 1000: how many missed ticks run after all']
        WHEN s.overlap IS NULL OR s.overlap NOT IN ('allow', 'skip', 'queue', 'cancel_previous')
            THEN ARRAY['overlap', format('is %L', s.overlap), 'give allow, skip, queue or cancel_previous']
        WHEN s.jitter IS NULL OR s.jitter < interval '0' OR s.jitter > interval '365 days'
            THEN ARRAY['jitter', format('is %s', s.jitter), 'give the longest delay of a run, such as ''30 seconds''']
        WHEN s.queue = '' OR s.queue = '*' OR length(s.queue) > 200
            THEN ARRAY['queue_name', 'must be a name of 1 to 200 characters, and not *', 'leave it out for the queue of the task']
        WHEN s.max_attempts < 1
            THEN ARRAY['max_attempts', format('is %s', s.max_attempts), 'give 1 to 32767']
        WHEN s.deadline < interval '0' OR s.deadline > interval '1000 years'
            THEN ARRAY['deadline', format('is %s', s.deadline), 'give how long after its time a run may still start']
        WHEN jsonb_typeof(s.meta) <> 'object'
            THEN ARRAY['meta', 'must be a JSON object', 'pass {"name": value, ...}']
        WHEN length(s.concurrency_key) > 200
            THEN ARRAY['concurrency_key', 'must have at most 200 characters', 'leave it out for that of the task']
        END;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN ARRAY['timezone', format('is %L, which is not a time zone', s.timezone), 'name a place, such as Europe/Berlin'];
END $$;

-- Raise what is wrong with a schedule, if anything is.
CREATE OR REPLACE FUNCTION :schema.check_schedule(s :schema.schedules) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault text[] := :schema.find_schedule_fault(s);
BEGIN
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse(fault[1], fault[2], fault[3], format('schedule %s', s.key));
    END IF;
END $$;

-- The row of a schedule, locked until the end of the transaction. Raises for one that does not exist.
CREATE OR REPLACE FUNCTION :schema.lock_schedule(namespace text, key text) RETURNS :schema.schedules
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    found_row :schema.schedules;
BEGIN
    SELECT * INTO found_row FROM :schema.schedules s WHERE s.namespace = lock_schedule.namespace AND s.key = lock_schedule.key FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM :schema.refuse('key', format('is %L, which names no schedule of namespace %L', key, namespace),
                               'see which there are: SELECT key FROM schedules', format('schedule %s', key));
    END IF;
    RETURN found_row;
END $$;

-- Store a schedule under its key, as it is now said to be: added | updated | unchanged. A rule that changed counts from now on: it
-- has missed nothing. Where it stands, and whether it is paused, is kept.
CREATE OR REPLACE FUNCTION :schema.keep_schedule(s :schema.schedules) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old   :schema.schedules;
    moved boolean;
BEGIN
    PERFORM :schema.check_schedule(s);
    INSERT INTO :schema.schedules (namespace, key, task, input, cron, every, timezone, start_at, end_at, max_runs, catch_up, overlap,
        jitter, queue, priority, max_attempts, deadline, meta, tags, concurrency_key, source, owner, seen_at, since_at, created_at, updated_at)
    VALUES (s.namespace, s.key, s.task, s.input, s.cron, s.every, s.timezone, s.start_at, s.end_at, s.max_runs, s.catch_up, s.overlap,
        s.jitter, s.queue, s.priority, s.max_attempts, s.deadline, s.meta, s.tags, s.concurrency_key, s.source, s.owner, s.seen_at,
        statement_timestamp(), statement_timestamp(), statement_timestamp())
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM :schema.announce_schedules(s.namespace, ARRAY[s.key]);
        RETURN 'added';
    END IF;
    old := :schema.lock_schedule(s.namespace, s.key);
    moved := (s.cron, s.every, s.timezone, s.start_at, s.end_at) IS DISTINCT FROM (old.cron, old.every, old.timezone, old.start_at, old.end_at);
    IF NOT moved AND (s.task, s.input, s.max_runs, s.catch_up, s.overlap, s.jitter, s.queue, s.priority, s.max_attempts, s.deadline, s.meta, s.tags,
                      s.concurrency_key, s.source)
        IS NOT DISTINCT FROM (old.task, old.input, old.max_runs, old.catch_up, old.overlap, old.jitter, old.queue, old.priority,
                              old.max_attempts, old.deadline, old.meta, old.tags, old.concurrency_key, old.source)
    THEN
        RETURN 'unchanged';
    END IF;
    UPDATE :schema.schedules o SET task = s.task, input = s.input, cron = s.cron, every = s.every, timezone = s.timezone,
        start_at = s.start_at, end_at = s.end_at, max_runs = s.max_runs, catch_up = s.catch_up, overlap = s.overlap, jitter = s.jitter,
        queue = s.queue, priority = s.priority, max_attempts = s.max_attempts, deadline = s.deadline, meta = s.meta, tags = s.tags,
        concurrency_key = s.concurrency_key, source = s.source, updated_at = statement_timestamp(), invalid = NULL,
        revision = nextval(:'schema.schedule_revision'::regclass),
        since_at = CASE WHEN moved THEN statement_timestamp() ELSE o.since_at END, next_at = CASE WHEN NOT moved THEN o.next_at END
    WHERE o.namespace = s.namespace AND o.key = s.key;
    PERFORM :schema.announce_schedules(s.namespace, ARRAY[s.key]);
    RETURN 'updated';
END $$;

-- Refuse to change by hand what the code says.
CREATE OR REPLACE FUNCTION :schema.refuse_declared(namespace text, key text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF EXISTS (SELECT FROM :schema.schedules s WHERE s.namespace = refuse_declared.namespace AND s.key = refuse_declared.key
               AND s.source = 'declarative') THEN
        PERFORM :schema.refuse('key', format('is %L, a schedule that the code declares', key),
                               'change it there (@task), pause it, or take another key', format('schedule %s', key));
    END IF;
END $$;

-- Add a schedule, or replace the one of that key: added | updated | unchanged.
CREATE OR REPLACE FUNCTION :schema.add_schedule(
    key text, task text, payload jsonb DEFAULT '{}', cron text DEFAULT NULL, every interval DEFAULT NULL, timezone text DEFAULT NULL,
    start_at timestamptz DEFAULT NULL, end_at timestamptz DEFAULT NULL, max_runs bigint DEFAULT NULL, catch_up integer DEFAULT NULL,
    overlap text DEFAULT NULL, jitter interval DEFAULT NULL, queue_name text DEFAULT NULL, priority integer DEFAULT NULL,
    max_attempts integer DEFAULT NULL, deadline interval DEFAULT NULL, meta jsonb DEFAULT NULL, tags text[] DEFAULT NULL,
    namespace text DEFAULT 'default', concurrency_key text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s :schema.schedules;
BEGIN
    PERFORM :schema.check_small('priority', priority, -32768, 'lower runs first', key);
    PERFORM :schema.check_small('max_attempts', max_attempts, 1, 'it is how often a run is tried', key);
    PERFORM :schema.refuse_declared(namespace, key);
    s.namespace := namespace; s.key := key; s.task := task; s.input := COALESCE(payload, '{}'); s.cron := cron; s.every := every;
    s.timezone := COALESCE(timezone, 'UTC'); s.start_at := start_at; s.end_at := end_at; s.max_runs := max_runs;
    s.catch_up := COALESCE(catch_up, 0); s.overlap := COALESCE(overlap, 'allow'); s.jitter := COALESCE(jitter, interval '0');
    s.queue := queue_name; s.priority := priority; s.max_attempts := max_attempts; s.deadline := deadline;
    s.meta := NULLIF(meta, '{}'); s.tags := NULLIF(tags, '{}'); s.concurrency_key := concurrency_key; s.source := 'dynamic';
    RETURN :schema.keep_schedule(s);
END $$;
COMMENT ON FUNCTION :schema.add_schedule(text, text, jsonb, text, interval, text, timestamptz, timestamptz, bigint, integer, text,
                                         interval, text, integer, integer, interval, jsonb, text[], text, text) IS
    'Add a schedule, or replace the one of that key: added | updated | unchanged. Example: SELECT add_schedule(''nightly'', ''reports.nightly'', ''{"day": "yesterday"}'', cron => ''0 2 * * *'', timezone => ''Europe/Berlin'')';

-- Refuse what does not fit into a smallint.
CREATE OR REPLACE FUNCTION :schema.check_small(field text, value integer, lowest integer, remark text, key text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value NOT BETWEEN lowest AND 32767 THEN
        PERFORM :schema.refuse(field, format('is %s', value), format('give %s to 32767; %s', lowest, remark), format('schedule %s', key));
    END IF;
END $$;

-- Whether the task's code works out the concurrency key of each run of its arguments: then nobody else can.
CREATE OR REPLACE FUNCTION :schema.computes_key(namespace text, task text) RETURNS boolean
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN COALESCE((SELECT jsonb_typeof(c.options -> 'concurrency_key') = 'object' FROM :schema.catalog c
                     WHERE c.namespace = computes_key.namespace AND c.task = computes_key.task ORDER BY c.seen_at DESC LIMIT 1), false);
END $$;

-- Change some fields of a schedule, by the names of add_schedule's arguments; null is the default. Giving one of cron and every
-- takes the other away. A key that was worked out of the arguments does not outlive them. updated | unchanged.
CREATE OR REPLACE FUNCTION :schema.update_schedule(key text, changes jsonb, namespace text DEFAULT 'default')
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    known constant text[] := '{task,payload,cron,every,timezone,start_at,end_at,max_runs,catch_up,overlap,jitter,queue_name,priority,max_attempts,deadline,meta,tags,concurrency_key}';
    defaults constant jsonb := '{"payload": {}, "timezone": "UTC", "catch_up": 0, "overlap": "allow", "jitter": "0"}';
    s     :schema.schedules;
    field record;
    name  text;
    value jsonb;
BEGIN
    IF changes IS NULL OR jsonb_typeof(changes) <> 'object' THEN
        PERFORM :schema.refuse('changes', 'must be a JSON object', 'pass {"cron": "0 3 * * *"}', format('schedule %s', key));
    END IF;
    s := :schema.lock_schedule(namespace, key);
    PERFORM :schema.refuse_declared(namespace, key);
    IF (changes ? 'payload' OR changes ? 'task') AND NOT changes ? 'concurrency_key' AND s.concurrency_key IS NOT NULL
        AND (:schema.computes_key(namespace, s.task) OR :schema.computes_key(namespace, changes ->> 'task'))
    THEN
        PERFORM :schema.refuse('concurrency_key', 'is missing: the one there is was worked out of the arguments before',
                               'give that of the new arguments', format('schedule %s', key));
    END IF;
    IF changes ? 'cron' AND NOT changes ? 'every' AND changes -> 'cron' <> 'null' THEN
        s.every := NULL;
    ELSIF changes ? 'every' AND NOT changes ? 'cron' AND changes -> 'every' <> 'null' THEN
        s.cron := NULL;
    END IF;
    FOR field IN SELECT e.key AS name, e.value FROM jsonb_each(changes) e LOOP
        IF field.name <> ALL (known) THEN
            PERFORM :schema.refuse(field.name, 'is not known', 'known are ' || array_to_string(known, ', '), format('schedule %s', key));
        END IF;
        name := CASE field.name WHEN 'payload' THEN 'input' WHEN 'queue_name' THEN 'queue' ELSE field.name END;
        value := CASE WHEN field.value = 'null' THEN COALESCE(defaults -> field.name, 'null') ELSE field.value END;
        BEGIN
            s := jsonb_populate_record(s, jsonb_build_object(name, value));
        EXCEPTION WHEN data_exception THEN
            PERFORM :schema.refuse(field.name, format('is %s', value), 'give a value as add_schedule takes it', format('schedule %s', key));
        END;
    END LOOP;
    s.meta := NULLIF(s.meta, '{}'); s.tags := NULLIF(s.tags, '{}');
    RETURN :schema.keep_schedule(s);
END $$;
COMMENT ON FUNCTION :schema.update_schedule(text, jsonb, text) IS
    'Change some fields of a schedule: updated | unchanged. Example: SELECT update_schedule(''nightly'', ''{"cron": "0 3 * * *", "max_runs": null}'')';

-- Pause a schedule until then (NULL: until it is resumed); what runs goes on. To repeat it changes the time.
CREATE OR REPLACE FUNCTION :schema.pause_schedule(
    key text, until timestamptz DEFAULT NULL, reason text DEFAULT NULL, namespace text DEFAULT 'default'
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF until <= statement_timestamp() THEN
        PERFORM :schema.refuse('until', format('is %s, which has passed', until), 'give a time to come, or leave it out', format('schedule %s', key));
    END IF;
    PERFORM :schema.lock_schedule(namespace, key);
    UPDATE :schema.schedules s SET paused_until = COALESCE(until, 'infinity'), pause_reason = reason, next_at = NULL,
        updated_at = statement_timestamp(), revision = nextval(:'schema.schedule_revision'::regclass)
    WHERE s.namespace = pause_schedule.namespace AND s.key = pause_schedule.key;
    PERFORM :schema.announce_schedules(namespace, ARRAY[key]);
END $$;
COMMENT ON FUNCTION :schema.pause_schedule(text, timestamptz, text, text) IS
    'Pause a schedule until a time, or until it is resumed. Example: SELECT pause_schedule(''nightly'', now() + interval ''2 days'')';

-- Resume a paused schedule. With catch_up it makes up for the newest of what it missed, otherwise it has missed nothing.
CREATE OR REPLACE FUNCTION :schema.resume_schedule(key text, namespace text DEFAULT 'default')
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s :schema.schedules := :schema.lock_schedule(namespace, key);
BEGIN
    IF s.paused_until IS NULL THEN
        RETURN;
    END IF;
    UPDATE :schema.schedules o SET paused_until = NULL, pause_reason = NULL, updated_at = statement_timestamp(),
        since_at = CASE WHEN s.catch_up = 0 THEN LEAST(s.paused_until, statement_timestamp()) ELSE o.since_at END,
        revision = nextval(:'schema.schedule_revision'::regclass)
    WHERE o.namespace = s.namespace AND o.key = s.key;
    PERFORM :schema.announce_schedules(namespace, ARRAY[key]);
END $$;
COMMENT ON FUNCTION :schema.resume_schedule(text, text) IS 'Resume a paused schedule. Example: SELECT resume_schedule(''nightly'')';

-- Remove a schedule; its runs and the history of its ticks stay. One that the code declares comes back with the next worker's start.
CREATE OR REPLACE FUNCTION :schema.remove_schedule(key text, namespace text DEFAULT 'default')
RETURNS boolean LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM :schema.schedules s WHERE s.namespace = remove_schedule.namespace AND s.key = remove_schedule.key;
    IF FOUND THEN
        PERFORM :schema.announce_schedules(namespace, ARRAY[key]);
    END IF;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION :schema.remove_schedule(text, text) IS
    'Remove a schedule: false if there is none. What it has enqueued, and its ticks, stay. Example: SELECT remove_schedule(''nightly'')';
