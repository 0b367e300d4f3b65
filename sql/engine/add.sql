-- Enqueue. One implementation (add_batch) under every door: Python's arrays, and those of add_jobs.sql.

-- The first fault of a batch as (field, problem, remedy, place), or nothing; place is 0-based, as the client counts.
-- Times have to fit into a client's, too: one that it cannot read would break whoever claims or lists the run.
CREATE OR REPLACE FUNCTION :schema.find_fault(
    tasks text[], inputs jsonb[], queues text[], priorities integer[], max_attempts integer[], run_ats timestamptz[],
    delays double precision[], deadlines timestamptz[], keys text[], key_modes text[], metas jsonb[], tags jsonb[], ids uuid[],
    lifetimes double precision[], max_bytes integer, namespace text
) RETURNS text[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
#variable_conflict use_column
BEGIN
    RETURN (SELECT fault || (i - 1)::text FROM (
        SELECT u.i, CASE
            WHEN i = 1 AND (find_fault.namespace IS NULL OR find_fault.namespace = '' OR length(find_fault.namespace) > 200)
                THEN ARRAY['namespace', 'must be a name of 1 to 200 characters', 'leave it out for the default one']
            WHEN (i = 1 OR cardinality(tasks) > 1) AND (task IS NULL OR task = '' OR length(task) > 200)
                THEN ARRAY['task', 'must be a name of 1 to 200 characters', 'a task is named module.function']
            WHEN input IS NULL OR jsonb_typeof(input) <> 'object'
                THEN ARRAY['input', 'must be a JSON object of arguments', 'pass {"argument": value, ...}']
            WHEN pg_column_size(input) > max_bytes / 8 AND octet_length(input::text) > max_bytes
                THEN ARRAY['input', format('has %s bytes, the limit is %s', octet_length(input::text), max_bytes),
                           'store large data elsewhere and pass a reference to it']
            WHEN queue = '' OR queue = '*' OR length(queue) > 200
                THEN ARRAY['queue', 'must be a name of 1 to 200 characters, and not *', 'leave it out for the queue of the task']
            WHEN priority NOT BETWEEN -32768 AND 32767
                THEN ARRAY['priority', format('is %s', priority), 'give -32768 to 32767; lower runs first']
            WHEN tries NOT BETWEEN 1 AND 32767
                THEN ARRAY['max_attempts', format('is %s', tries), 'give 1 to 32767']
            WHEN delay < 0 OR delay > 2e11 OR delay = 'NaN'
                THEN ARRAY['delay', format('is %s seconds', delay), 'a delay is not negative, and ends before the year 8000']
            WHEN lifetime < 0 OR lifetime > 2e11 OR lifetime = 'NaN'
                THEN ARRAY['deadline', format('is %s seconds from now', lifetime), 'give a time to come']
            WHEN run_at NOT BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00'
                THEN ARRAY['run_at', format('is %s', run_at), 'give a time before the year 9999']
            WHEN deadline NOT BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00'
                THEN ARRAY['deadline', format('is %s', deadline), 'give a time before the year 9999, or leave it out for none']
            -- Of a time in the past nothing is said: such a run expires.
            WHEN (run_at IS NOT NULL OR delay IS NOT NULL)
                    AND COALESCE(deadline, statement_timestamp() + lifetime * interval '1 second')
                        < COALESCE(run_at, statement_timestamp() + delay * interval '1 second')
                THEN ARRAY['deadline', format('%s is before %s, when the run is due',
                        COALESCE(deadline, statement_timestamp() + lifetime * interval '1 second'),
                        COALESCE(run_at, statement_timestamp() + delay * interval '1 second')),
                    'give a later deadline, or an earlier time to run']
            WHEN key = '' OR length(key) > 500
                THEN ARRAY['key', 'must have 1 to 500 characters', 'leave it out for a job without a key']
            WHEN key_mode NOT IN ('replace', 'skip')
                THEN ARRAY['key_mode', format('is %L', key_mode), 'give replace or skip']
            WHEN jsonb_typeof(meta) <> 'object'
                THEN ARRAY['meta', 'must be a JSON object', 'pass {"name": value, ...}']
            WHEN jsonb_typeof(tag) <> 'array' OR tag @? '$[*] ? (@.type() != "string")'
                THEN ARRAY['tags', 'must be a list of strings', 'pass ["name", ...]']
            WHEN substr(id::text, 15, 1) <> '7' OR :schema.id_time(id)
                    NOT BETWEEN statement_timestamp() - interval '1 hour' AND statement_timestamp() + interval '5 minutes'
                THEN ARRAY['id', 'is not a UUIDv7 made within the last hour',
                           format('the clock of the database says %s: check the clock that made the id, or leave the id out',
                                  statement_timestamp())]
            END AS fault
        FROM unnest(inputs, tasks, queues, priorities, max_attempts, run_ats, delays, deadlines, keys, key_modes, metas, tags, ids,
                    lifetimes) WITH ORDINALITY
            AS u (input, task, queue, priority, tries, run_at, delay, deadline, key, key_mode, meta, tag, id, lifetime, i)
    ) AS checked WHERE fault IS NOT NULL LIMIT 1);
END $$;

-- Raise that a field has a value it cannot have; place says in which job.
CREATE OR REPLACE FUNCTION :schema.refuse(field text, problem text, remedy text, place text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', COLUMN = field, DETAIL = place,
        MESSAGE = field || ' ' || problem, HINT = remedy;
END $$;

-- What the catalogue says of a task; of several pools, the one seen last.
CREATE OR REPLACE FUNCTION :schema.task_defaults(namespace text, task text)
RETURNS TABLE (queue text, priority smallint, max_attempts smallint)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT c.queue, c.priority, c.max_attempts FROM :schema.catalog c
    WHERE c.namespace = $1 AND c.task = $2 ORDER BY c.seen_at DESC LIMIT 1
$$;

-- Tell workers of jobs just added or moved: their lanes are known, and the bell rings for those that are ready, and for
-- those due before every worker looks again by itself (its poll floor, 2 s + 10 %).
CREATE OR REPLACE FUNCTION :schema.announce(
    namespace text, queues text[], priorities smallint[], seqs bigint[], run_ats timestamptz[]
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
#variable_conflict use_variable
DECLARE
    due timestamptz := (SELECT min(u.run_at) FROM unnest(seqs, run_ats) AS u (seq, run_at) WHERE u.seq IS NULL);
BEGIN
    PERFORM :schema.note_lanes(namespace, queues, priorities);
    IF due > statement_timestamp() + interval '3 seconds' THEN
        due := NULL;
    END IF;
    IF due IS NOT NULL OR cardinality(array_remove(seqs, NULL)) > 0 THEN
        PERFORM :schema.ring(namespace, queues, priorities, seqs, due);
    END IF;
END $$;

-- Enqueue a batch on the caller's transaction; one row a job, in order: its id, and added | existing | replaced.
-- Arrays run in parallel; NULL, or a NULL element, means "what the catalogue says of the task". One element in tasks, queues,
-- priorities or max_attempts stands for all. run_at wins over delay (seconds). All is checked before anything is stored.
-- for_sql: faults are told in the words of add_job and add_jobs.
CREATE OR REPLACE FUNCTION :schema.add_batch(
    tasks text[], inputs jsonb[], namespace text DEFAULT 'default', queues text[] DEFAULT NULL,
    priorities integer[] DEFAULT NULL, max_attempts integer[] DEFAULT NULL, run_ats timestamptz[] DEFAULT NULL,
    delays double precision[] DEFAULT NULL, deadlines timestamptz[] DEFAULT NULL, keys text[] DEFAULT NULL,
    key_modes text[] DEFAULT NULL, metas jsonb[] DEFAULT NULL, tags jsonb[] DEFAULT NULL, ids uuid[] DEFAULT NULL,
    lifetimes double precision[] DEFAULT NULL, max_bytes integer DEFAULT 1048576, for_sql boolean DEFAULT false
) RETURNS TABLE (ordinal integer, id uuid, outcome text)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    fault text[] := :schema.find_fault(tasks, inputs, queues, priorities, max_attempts, run_ats, delays, deadlines, keys,
                                       key_modes, metas, tags, ids, lifetimes, max_bytes, namespace);
    one_task text := CASE cardinality(tasks) WHEN 1 THEN tasks[1] END;
    one_queue text := CASE cardinality(queues) WHEN 1 THEN queues[1] END;
    one_priority integer := CASE cardinality(priorities) WHEN 1 THEN priorities[1] END;
    one_max integer := CASE cardinality(max_attempts) WHEN 1 THEN max_attempts[1] END;
    new_ids uuid[];
    keyed boolean := COALESCE(cardinality(array_remove(keys, NULL)) > 0 OR cardinality(array_remove(ids, NULL)) > 0, false);
BEGIN
    IF fault IS NOT NULL THEN
        IF for_sql THEN
            PERFORM :schema.refuse(CASE fault[1] WHEN 'input' THEN 'payload' WHEN 'queue' THEN 'queue_name' WHEN 'key' THEN 'job_key'
                WHEN 'key_mode' THEN 'job_key_mode' ELSE fault[1] END, fault[2], fault[3], format('jobs[%s]', fault[4]::integer + 1));
        END IF;
        PERFORM :schema.refuse(fault[1], fault[2], fault[3], 'job ' || fault[4]);
    END IF;
    -- Before any seq is taken: an id that every later snapshot knows of. The floor of a lane relies on it.
    PERFORM pg_current_xact_id();
    IF one_task IS NOT NULL AND (one_queue IS NULL OR one_priority IS NULL OR one_max IS NULL) THEN
        SELECT COALESCE(one_queue, d.queue), COALESCE(one_priority, d.priority), COALESCE(one_max, d.max_attempts)
        INTO one_queue, one_priority, one_max
        FROM (SELECT) AS nothing LEFT JOIN :schema.task_defaults(add_batch.namespace, one_task) d ON true;
        one_queue := COALESCE(one_queue, 'default'); one_priority := COALESCE(one_priority, 0); one_max := COALESCE(one_max, 25);
    END IF;
    IF keyed THEN
        RETURN QUERY SELECT * FROM :schema.add_keyed(tasks, inputs, namespace, queues, priorities, max_attempts, run_ats,
                                                     delays, deadlines, keys, key_modes, metas, tags, ids, lifetimes);
        RETURN;
    END IF;
    new_ids := :schema.new_ids(cardinality(inputs));
    RETURN QUERY
    WITH requests AS (
        INSERT INTO :schema.run_requests AS r
            (id, run_at, deadline, priority, max_attempts, namespace, task, queue, input, meta, tags)
        SELECT u.id,
            COALESCE(u.run_at, statement_timestamp() + u.delay * interval '1 second', statement_timestamp()),
            COALESCE(u.deadline, statement_timestamp() + u.lifetime * interval '1 second'),
            COALESCE(u.priority, one_priority, (SELECT d.priority FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 0),
            COALESCE(u.tries, one_max, (SELECT d.max_attempts FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 25),
            add_batch.namespace, COALESCE(u.task, one_task),
            COALESCE(u.queue, one_queue, (SELECT d.queue FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 'default'),
            u.input, NULLIF(u.meta, '{}'), CASE WHEN u.tag IS NOT NULL THEN (SELECT array_agg(t) FROM jsonb_array_elements_text(u.tag) t) END
        FROM unnest(new_ids, inputs, tasks, queues, priorities, max_attempts, run_ats, delays, deadlines, metas, tags, lifetimes)
            AS u (id, input, task, queue, priority, tries, run_at, delay, deadline, meta, tag, lifetime)
        RETURNING r.id, r.run_at, r.deadline, r.priority, r.max_attempts, r.task, r.queue, pg_column_size(r.input) AS size
    ), added AS (
        INSERT INTO :schema.jobs AS j
            (id, seq, state, run_at, deadline, size, priority, max_attempts, namespace, queue, task)
        SELECT r.id, CASE WHEN r.run_at <= statement_timestamp() THEN nextval(:'schema.job_seq'::regclass) END,
            CASE WHEN r.run_at <= statement_timestamp() THEN 'q' ELSE 's' END::"char",
            r.run_at, COALESCE(r.deadline, 'infinity'), r.size, r.priority, r.max_attempts, add_batch.namespace, r.queue, r.task
        FROM requests r
        RETURNING j.id, j.queue, j.priority, j.seq, j.run_at
    ), announced AS MATERIALIZED (
        SELECT :schema.announce(add_batch.namespace, array_agg(l.queue), array_agg(l.priority), array_agg(l.seq), array_agg(l.run_at))
        FROM (SELECT a.queue, a.priority, min(a.seq) AS seq, min(a.run_at) FILTER (WHERE a.seq IS NULL) AS run_at
              FROM added a GROUP BY 1, 2, a.seq IS NULL) l
    )
    SELECT (row_number() OVER ())::integer, a.id, 'added' FROM added a CROSS JOIN announced;
END $$;

-- The same for batches with keys or ids of the caller: one job after the other, in the order of their keys, so that two
-- batches never wait for each other in a circle.
--   skip: a live job with the key is answered instead. replace: a waiting one is overwritten (all but its id); one that runs
--   keeps running and loses the key; one that waits for a retry is cancelled, since what was tried is history.
CREATE OR REPLACE FUNCTION :schema.add_keyed(
    tasks text[], inputs jsonb[], namespace text, queues text[], priorities integer[], max_attempts integer[],
    run_ats timestamptz[], delays double precision[], deadlines timestamptz[], keys text[], key_modes text[],
    metas jsonb[], tags jsonb[], ids uuid[], lifetimes double precision[]
) RETURNS TABLE (ordinal integer, id uuid, outcome text)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    item record;
    live :schema.jobs;
    job  :schema.jobs;
    places integer[] := '{}'; runs uuid[] := '{}'; outcomes text[] := '{}';  -- the answer: arrays, which grow in place
    new_queues text[] := '{}'; new_priorities smallint[] := '{}'; new_seqs bigint[] := '{}'; new_run_ats timestamptz[] := '{}';
BEGIN
    FOR item IN
        -- Subscript 1 / cardinality is 1 where one element stands for all, and 0 (nothing) otherwise.
        SELECT u.i::integer AS i, n.task, u.input, COALESCE(u.key_mode, 'replace') AS key_mode, u.key, u.id,
            COALESCE(u.deadline, statement_timestamp() + u.lifetime * interval '1 second') AS deadline,
            COALESCE(u.run_at, statement_timestamp() + u.delay * interval '1 second', statement_timestamp()) AS run_at,
            COALESCE(u.queue, queues[1 / NULLIF(cardinality(queues), 0)], d.queue, 'default') AS queue,
            COALESCE(u.priority, priorities[1 / NULLIF(cardinality(priorities), 0)], d.priority, 0)::smallint AS priority,
            COALESCE(u.tries, add_keyed.max_attempts[1 / NULLIF(cardinality(add_keyed.max_attempts), 0)], d.max_attempts, 25)::smallint AS tries,
            NULLIF(u.meta, '{}') AS meta, (SELECT array_agg(t) FROM jsonb_array_elements_text(u.tag) t) AS tags,
            pg_column_size(u.input) AS size
        FROM unnest(inputs, tasks, queues, priorities, add_keyed.max_attempts, run_ats, delays, deadlines, keys, key_modes, metas,
                    add_keyed.tags, ids, lifetimes)
            WITH ORDINALITY AS u (input, task, queue, priority, tries, run_at, delay, deadline, key, key_mode, meta, tag, id, lifetime, i)
        CROSS JOIN LATERAL (SELECT COALESCE(u.task, tasks[1 / NULLIF(cardinality(tasks), 0)]) AS task) n
        LEFT JOIN LATERAL :schema.task_defaults(add_keyed.namespace, n.task) d ON true
        ORDER BY n.task, u.key, u.id, u.i
    LOOP
        LOOP
            IF item.id IS NOT NULL AND (EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = item.id)
                                        OR EXISTS (SELECT FROM :schema.jobs j WHERE j.id = item.id)) THEN
                places := places || item.i; runs := runs || item.id; outcomes := outcomes || 'existing'::text;
                EXIT;
            END IF;
            live := NULL;
            IF item.key IS NOT NULL THEN
                SELECT * INTO live FROM :schema.jobs j
                WHERE j.namespace = add_keyed.namespace AND j.task = item.task AND j.key = item.key;
            END IF;
            IF live.id IS NOT NULL AND item.key_mode <> 'skip' THEN  -- to skip is no reason to hold the job up
                SELECT * INTO live FROM :schema.jobs j WHERE j.id = live.id AND j.key = item.key FOR UPDATE;
                CONTINUE WHEN NOT FOUND;
            END IF;
            IF live.id IS NOT NULL AND item.key_mode = 'skip' THEN
                places := places || item.i; runs := runs || live.id; outcomes := outcomes || 'existing'::text;
                EXIT;
            ELSIF live.worker <> :schema.nobody() THEN
                UPDATE :schema.jobs j SET key = NULL WHERE j.id = live.id;
            ELSIF live.attempt > 0 THEN
                PERFORM :schema.end_waiting(ARRAY[live.id], 'cancelled',
                    jsonb_build_object('type', 'Replaced', 'message', 'another job with the same key took its place'));
            ELSIF live.id IS NOT NULL THEN
                UPDATE :schema.run_requests r SET run_at = item.run_at, deadline = item.deadline, priority = item.priority,
                    max_attempts = item.tries, queue = item.queue, input = item.input, meta = item.meta, tags = item.tags
                WHERE r.id = live.id;
                DELETE FROM :schema.jobs j WHERE j.id = live.id;
                item.id := live.id;
            END IF;
            INSERT INTO :schema.jobs AS j
                (id, seq, state, run_at, deadline, size, priority, max_attempts, awaited, namespace, queue, task, key)
            SELECT COALESCE(item.id, :schema.new_id()),
                CASE WHEN item.run_at <= statement_timestamp() THEN nextval(:'schema.job_seq'::regclass) END,
                CASE WHEN item.run_at <= statement_timestamp() THEN 'q' ELSE 's' END::"char",
                item.run_at, COALESCE(item.deadline, 'infinity'), item.size, item.priority, item.tries,
                COALESCE(live.awaited, false), add_keyed.namespace, item.queue, item.task, item.key
            ON CONFLICT DO NOTHING
            RETURNING * INTO job;
            CONTINUE WHEN NOT FOUND;
            INSERT INTO :schema.run_requests
                (id, run_at, deadline, priority, max_attempts, namespace, task, queue, key, input, meta, tags)
            VALUES (job.id, item.run_at, item.deadline, item.priority, item.tries, add_keyed.namespace, item.task, item.queue,
                    item.key, item.input, item.meta, item.tags)
            ON CONFLICT DO NOTHING;
            new_queues := new_queues || job.queue; new_priorities := new_priorities || job.priority;
            new_seqs := new_seqs || job.seq; new_run_ats := new_run_ats || job.run_at;
            places := places || item.i; runs := runs || job.id;
            outcomes := outcomes || CASE WHEN live.id = job.id THEN 'replaced' ELSE 'added' END;
            EXIT;
        END LOOP;
    END LOOP;
    IF cardinality(new_queues) > 0 THEN
        PERFORM :schema.announce(add_keyed.namespace, new_queues, new_priorities, new_seqs, new_run_ats);
    END IF;
    RETURN QUERY SELECT a.i, a.id, a.outcome FROM unnest(places, runs, outcomes) AS a (i, id, outcome) ORDER BY a.i;
END $$;
