-- What is wrong with jobs that are to be enqueued: all is checked before anything is stored.

-- The first fault of a batch as (field, problem, remedy, place), or nothing; place is 0-based, as the client counts.
-- Times have to fit into a client's, too: one that it cannot read would break whoever claims or lists the run.
CREATE OR REPLACE FUNCTION :schema.find_fault(
    tasks text[], inputs jsonb[], queues text[], priorities integer[], max_attempts integer[], run_ats timestamptz[],
    delays double precision[], deadlines timestamptz[], keys text[], key_modes text[], metas jsonb[], tags jsonb[], ids uuid[],
    lifetimes double precision[], max_bytes integer, namespace text
) RETURNS text[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
            WHEN key_mode NOT IN ('replace', 'keep_time', 'skip', 'merge')
                THEN ARRAY['key_mode', format('is %L', key_mode), 'give replace, keep_time, skip or merge']
            WHEN jsonb_typeof(meta) <> 'object'
                THEN ARRAY['meta', 'must be a JSON object', 'pass {"name": value, ...}']
            WHEN jsonb_typeof(tag) <> 'array' OR tag @? '$[*] ? (@.type() != "string" || !(@ like_regex "^.{1,200}$" flag "s"))'
                THEN ARRAY['tags', 'must be a list of strings of 1 to 200 characters', 'pass ["name", ...]']
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

-- The same for what few jobs have: groups, concurrency keys and idempotency keys. One element of key_limits or ttls stands for all;
-- a concurrency key that is empty is none, though the task has one.
CREATE OR REPLACE FUNCTION :schema.find_key_fault(
    group_keys text[], concurrency_keys text[], key_limits integer[], idempotency_keys text[], ttls double precision[]
) RETURNS text[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (SELECT fault || (i - 1)::text FROM (
        SELECT u.i, CASE
            WHEN group_key = '' OR length(group_key) > 200
                THEN ARRAY['group', 'must have 1 to 200 characters', 'leave it out for a job without a group']
            WHEN length(concurrency_key) > 200
                THEN ARRAY['concurrency_key', 'must have at most 200 characters', 'leave it out for that of the task']
            WHEN key_limit NOT BETWEEN 1 AND 32767
                THEN ARRAY['key_concurrency', format('is %s', key_limit), 'give 1 to 32767']
            WHEN idempotency_key = '' OR length(idempotency_key) > 500
                THEN ARRAY['idempotency', 'must have 1 to 500 characters', 'leave it out for an enqueue that is never repeated']
            WHEN NOT (ttl > 0 AND ttl <= 3e9) OR ttl = 'NaN'
                THEN ARRAY['idempotency_ttl', format('is %s seconds', ttl), 'give more than 0, and less than a hundred years']
            END AS fault
        FROM unnest(group_keys, concurrency_keys, key_limits, idempotency_keys, ttls) WITH ORDINALITY
            AS u (group_key, concurrency_key, key_limit, idempotency_key, ttl, i)
    ) AS checked WHERE fault IS NOT NULL LIMIT 1);
END $$;

-- Raise a fault that was found: to a caller in SQL in the words of add_job, and of many jobs with which one it is.
CREATE OR REPLACE FUNCTION :schema.refuse_fault(fault text[], caller text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF caller IS NOT NULL THEN
        PERFORM :schema.refuse(CASE fault[1] WHEN 'input' THEN 'payload' WHEN 'queue' THEN 'queue_name' WHEN 'key' THEN 'job_key'
            WHEN 'key_mode' THEN 'job_key_mode' WHEN 'group' THEN 'group_key' WHEN 'idempotency' THEN 'idempotency_key'
            ELSE fault[1] END, fault[2], fault[3],
            CASE caller WHEN 'add_jobs' THEN format('jobs[%s]', fault[4]::integer + 1) ELSE caller END);
    END IF;
    PERFORM :schema.refuse(fault[1], fault[2], fault[3], 'job ' || fault[4]);
END $$;

-- Raise that a field has a value it cannot have; place says in which job.
CREATE OR REPLACE FUNCTION :schema.refuse(field text, problem text, remedy text, place text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', COLUMN = field, DETAIL = place,
        MESSAGE = field || ' ' || problem, HINT = remedy;
END $$;
