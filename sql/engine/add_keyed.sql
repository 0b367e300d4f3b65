-- Enqueue jobs that may be there already: those with a key, an idempotency key or an id of the caller. What happens in each case stands
-- in docs/keys.md, a row each.

-- Before a batch of several keys changes anything: lock the keys, in order, against other such batches, and then the jobs that have them,
-- in the order of their ids, as all do that lock several (taken: see add_keyed). Of very many keys the jobs only, as the server has room
-- for so many other locks: who meets a job made in this very moment may have to be told of a deadlock.
CREATE OR REPLACE FUNCTION :schema.lock_keyed(namespace text, tasks text[], keys text[], key_modes text[], taken boolean[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_task text := CASE cardinality(tasks) WHEN 1 THEN tasks[1] END;
    changed_tasks text[]; changed_keys text[];
    held  uuid[] := '{}';
    fresh uuid[];
BEGIN
    SELECT array_agg(c.task), array_agg(c.key) INTO changed_tasks, changed_keys FROM (
        SELECT DISTINCT COALESCE(u.task, one_task) AS task, u.key FROM unnest(tasks, keys, key_modes, taken) AS u (task, key, mode, taken)
        WHERE u.key IS NOT NULL AND u.mode IS DISTINCT FROM 'skip' AND u.taken IS DISTINCT FROM false) c;
    IF COALESCE(cardinality(changed_keys), 0) < 2 THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(k.number) FROM (
        SELECT DISTINCT hashtextextended(concat_ws(E'\n', :'schema', 'job key', namespace, u.task, u.key), 0) AS number
        FROM unnest(changed_tasks, changed_keys) AS u (task, key) WHERE cardinality(changed_keys) <= 50 ORDER BY 1 OFFSET 0) k;
    LOOP  -- one that has its key since is younger than those locked before
        fresh := ARRAY(
            SELECT j.id FROM unnest(changed_tasks, changed_keys) AS u (task, key)
            CROSS JOIN LATERAL (SELECT j.id FROM :schema.jobs j WHERE j.namespace = lock_keyed.namespace
                                AND j.task = u.task AND j.key = u.key OFFSET 0) j
            EXCEPT SELECT unnest(held));
        EXIT WHEN cardinality(fresh) = 0;
        PERFORM FROM (SELECT u.id FROM unnest(fresh) AS u (id) ORDER BY 1) u
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) FOR UPDATE OF j;
        held := held || fresh;
    END LOOP;
END $$;

-- add_batch for such jobs: one after the other, in the order of their keys, so that two batches never wait for each other in a circle.
-- The jobs that have several keys are locked before (lock_keyed).
--   skip: a live job with the key is answered instead. replace: a waiting one is overwritten (all but its id); one that runs
--   keeps running and loses the key; one that waits for a retry is cancelled, since what was tried is history. keep_time: as replace,
--   but a job that was never tried keeps its time, and its place in line. merge: as keep_time, and lists of both inputs are joined.
CREATE OR REPLACE FUNCTION :schema.add_keyed(
    tasks text[], inputs jsonb[], namespace text, queues text[], priorities integer[], max_attempts integer[],
    run_ats timestamptz[], delays double precision[], deadlines timestamptz[], keys text[], key_modes text[],
    metas jsonb[], tags jsonb[], ids uuid[], lifetimes double precision[], max_bytes integer, caller text, group_keys text[],
    concurrency_keys text[], key_limits smallint[], keeps_slots boolean[], idempotency_keys text[], ttls double precision[]
) RETURNS TABLE (ordinal integer, id uuid, outcome text)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    item record;
    live :schema.jobs;
    job  :schema.jobs;
    request :schema.run_requests;
    mine :schema.jobs; changed boolean := false; moved boolean;  -- the job that this batch has made for the key, and how it changed since
    rewritten :schema.jobs[] := '{}';
    taken_runs uuid[]; taken_now boolean[];  -- of the idempotency keys, by take_idempotency
    answer uuid; what text;
    places integer[] := '{}'; runs uuid[] := '{}'; outcomes text[] := '{}';  -- the answer: arrays, which grow in place
    new_queues text[] := '{}'; new_priorities smallint[] := '{}'; new_seqs bigint[] := '{}'; new_run_ats timestamptz[] := '{}';
    new_gates text[] := '{}';
BEGIN
    IF idempotency_keys IS NOT NULL THEN
        SELECT t.runs, t.taken INTO taken_runs, taken_now
        FROM :schema.take_idempotency(namespace, tasks, idempotency_keys, ttls) t;
    END IF;
    IF cardinality(keys) > 1 THEN
        PERFORM :schema.lock_keyed(namespace, tasks, keys, key_modes, taken_now);
    END IF;
    FOR item IN
        -- Subscript 1 / cardinality is 1 where one element stands for all, and 0 (nothing) otherwise.
        SELECT u.i::integer AS i, n.task, u.input, COALESCE(u.key_mode, 'replace') AS key_mode, u.key, u.id,
            COALESCE(u.deadline, statement_timestamp() + u.lifetime * interval '1 second') AS deadline,
            COALESCE(u.run_at, statement_timestamp() + u.delay * interval '1 second', statement_timestamp()) AS run_at,
            COALESCE(u.queue, queues[1 / NULLIF(cardinality(queues), 0)], d.queue, 'default') AS queue,
            COALESCE(u.priority, priorities[1 / NULLIF(cardinality(priorities), 0)], d.priority, 0)::smallint AS priority,
            COALESCE(u.tries, add_keyed.max_attempts[1 / NULLIF(cardinality(add_keyed.max_attempts), 0)], d.max_attempts, 25)::smallint AS tries,
            NULLIF(u.meta, '{}') AS meta, (SELECT array_agg(t) FROM jsonb_array_elements_text(u.tag) t) AS tags,
            u.group_key, u.concurrency_key, u.key_limit, u.keeps_slot, u.idempotency, u.idempotent_run, u.taken
        FROM unnest(inputs, tasks, queues, priorities, add_keyed.max_attempts, run_ats, delays, deadlines, keys, key_modes, metas,
                    add_keyed.tags, ids, lifetimes, group_keys, concurrency_keys, key_limits, keeps_slots, idempotency_keys,
                    taken_runs, taken_now)
            WITH ORDINALITY AS u (input, task, queue, priority, tries, run_at, delay, deadline, key, key_mode, meta, tag, id, lifetime,
                                  group_key, concurrency_key, key_limit, keeps_slot, idempotency, idempotent_run, taken, i)
        CROSS JOIN LATERAL (SELECT COALESCE(u.task, tasks[1 / NULLIF(cardinality(tasks), 0)]) AS task) n
        LEFT JOIN LATERAL :schema.task_defaults(add_keyed.namespace, n.task) d ON true
        -- Those last that an idempotency key has answered: the run of an earlier job of the batch is known by then.
        ORDER BY u.taken IS NOT DISTINCT FROM false, n.task, u.key, u.id, u.i
    LOOP
        IF item.task = mine.task AND item.key = mine.key AND item.id IS NULL AND item.taken IS NOT false THEN
            -- An earlier job of this batch has the key, and so have we its row: it is written once more, at the end of the key.
            answer := mine.id; what := 'existing';
            IF item.key_mode <> 'skip' THEN
                request := (mine.id, CASE item.key_mode WHEN 'replace' THEN item.run_at ELSE request.run_at END, item.deadline,
                    item.priority, item.tries, add_keyed.namespace, item.task, item.queue, item.key, CASE item.key_mode WHEN 'merge'
                        THEN :schema.merge_inputs(request.input, item.input, max_bytes, caller, item.i) ELSE item.input END,
                    item.meta, item.tags, item.group_key, item.concurrency_key, item.key_limit, item.keeps_slot);
                changed := true; moved := moved OR item.key_mode = 'replace'; what := 'replaced';
            END IF;
        ELSE
            IF changed THEN
                rewritten := rewritten || :schema.replace_waiting(mine, request, NOT moved);
                changed := false;
            END IF;
            mine := NULL;
        END IF;
        LOOP
            EXIT WHEN mine.id IS NOT NULL;
            IF NOT item.taken THEN
                SELECT d.run INTO item.id FROM :schema.idempotency d
                WHERE d.namespace = add_keyed.namespace AND d.task = item.task AND d.key = item.idempotency;
                item.id := COALESCE(item.id, item.idempotent_run);
            END IF;
            IF NOT item.taken OR item.id IS NOT NULL AND (EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = item.id)
                                                          OR EXISTS (SELECT FROM :schema.jobs j WHERE j.id = item.id)) THEN
                answer := item.id; what := 'existing';
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
                answer := live.id; what := 'existing';
                EXIT;
            END IF;
            job := NULL;
            request := (COALESCE(item.id, item.idempotent_run, :schema.new_id()), item.run_at, item.deadline, item.priority, item.tries,
                add_keyed.namespace, item.task, item.queue, item.key, item.input, item.meta, item.tags, item.group_key,
                item.concurrency_key, item.key_limit, item.keeps_slot);
            IF live.worker <> :schema.nobody() THEN
                UPDATE :schema.jobs j SET key = NULL WHERE j.id = live.id;
            ELSIF live.id IS NOT NULL THEN
                IF item.key_mode = 'merge' THEN
                    request.input := :schema.merge_inputs((SELECT r.input FROM :schema.run_requests r WHERE r.id = live.id), item.input,
                                                          max_bytes, caller, item.i);
                END IF;
                IF live.attempt > 0 THEN
                    PERFORM :schema.end_waiting(ARRAY[live.id], 'cancelled',
                        jsonb_build_object('type', 'Replaced', 'message', 'another job with the same key took its place'));
                ELSE
                    request.id := live.id;
                    IF item.key_mode IN ('keep_time', 'merge') THEN
                        request.run_at := live.run_at;
                    END IF;
                    job := :schema.replace_waiting(live, request, item.key_mode IN ('keep_time', 'merge'));
                END IF;
            END IF;
            IF job.id IS NULL THEN
                job := :schema.store_job(request, false);
                CONTINUE WHEN job.id IS NULL;
                INSERT INTO :schema.run_requests SELECT request.* ON CONFLICT DO NOTHING;
            END IF;
            new_queues := new_queues || job.queue; new_priorities := new_priorities || job.priority;
            new_seqs := new_seqs || job.seq; new_run_ats := new_run_ats || job.run_at;
            new_gates := new_gates || job.gate;
            mine := job; moved := false;
            answer := job.id; what := CASE WHEN live.id = job.id THEN 'replaced' ELSE 'added' END;
            EXIT;
        END LOOP;
        IF item.taken AND item.idempotent_run <> answer THEN
            UPDATE :schema.idempotency d SET run = answer
            WHERE d.namespace = add_keyed.namespace AND d.task = item.task AND d.key = item.idempotency;
        END IF;
        places := places || item.i; runs := runs || answer; outcomes := outcomes || what;
    END LOOP;
    IF changed THEN
        rewritten := rewritten || :schema.replace_waiting(mine, request, NOT moved);
    END IF;
    FOREACH job IN ARRAY rewritten LOOP
        new_queues := new_queues || job.queue; new_priorities := new_priorities || job.priority;
        new_seqs := new_seqs || job.seq; new_run_ats := new_run_ats || job.run_at;
        new_gates := new_gates || job.gate;
    END LOOP;
    IF cardinality(new_queues) > 0 THEN
        PERFORM :schema.announce(add_keyed.namespace, array_agg(n.queue), array_agg(n.priority), array_agg(n.seq), array_agg(n.run_at))
        FROM unnest(new_queues, new_priorities, new_seqs, new_run_ats, new_gates) AS n (queue, priority, seq, run_at, gate) WHERE n.gate IS NULL;
        PERFORM :schema.note_waiters(add_keyed.namespace, ARRAY(SELECT DISTINCT n FROM unnest(new_gates) n WHERE n NOT LIKE 'back %'));
    END IF;
    RETURN QUERY SELECT a.i, a.id, a.outcome FROM unnest(places, runs, outcomes) AS a (i, id, outcome) ORDER BY a.i;
END $$;

-- Overwrite a job that waits and was never tried, which the caller has locked. It keeps its place in line if it is to (kept), and nothing
-- changes on which the place depends; otherwise it gets a new one.
CREATE OR REPLACE FUNCTION :schema.replace_waiting(live :schema.jobs, request :schema.run_requests, kept boolean) RETURNS :schema.jobs
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    job :schema.jobs;
BEGIN
    UPDATE :schema.run_requests r SET run_at = request.run_at, deadline = request.deadline, priority = request.priority,
        max_attempts = request.max_attempts, queue = request.queue, input = request.input, meta = request.meta, tags = request.tags,
        group_key = request.group_key, concurrency_key = request.concurrency_key, key_limit = request.key_limit,
        keeps_slot = request.keeps_slot
    WHERE r.id = live.id;
    IF kept AND (live.state = 's' OR (live.queue, live.priority, live.group_key, live.concurrency_key, live.key_limit)
                 IS NOT DISTINCT FROM (request.queue, request.priority, request.group_key, request.concurrency_key, request.key_limit)) THEN
        UPDATE :schema.jobs j SET deadline = COALESCE(request.deadline, 'infinity'), size = pg_column_size(request.input),
            priority = request.priority, max_attempts = request.max_attempts, queue = request.queue, group_key = request.group_key,
            concurrency_key = request.concurrency_key, key_limit = request.key_limit, keeps_slot = COALESCE(request.keeps_slot, false)
        WHERE j.id = live.id RETURNING * INTO job;
        RETURN job;
    END IF;
    DELETE FROM :schema.jobs j WHERE j.id = live.id RETURNING * INTO live;
    IF live.slots > 0 THEN  -- it had been let through
        PERFORM :schema.free_slots(ARRAY[live.namespace], ARRAY[live.queue], ARRAY[live.task], ARRAY[live.concurrency_key], ARRAY[live.slots]);
    END IF;
    RETURN :schema.store_job(request, live.awaited);
END $$;

-- Add the job of a request; null if there is one with its key or id.
CREATE OR REPLACE FUNCTION :schema.store_job(request :schema.run_requests, awaited boolean) RETURNS :schema.jobs
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    job :schema.jobs;
BEGIN
    INSERT INTO :schema.jobs AS j
        (id, seq, place, gate, state, run_at, deadline, size, priority, max_attempts, awaited, namespace, queue, task, key, group_key,
         concurrency_key, key_limit, keeps_slot)
    SELECT request.id,
        CASE WHEN request.run_at <= statement_timestamp() AND request.concurrency_key IS NULL THEN nextval(:'schema.job_seq'::regclass) END,
        CASE WHEN request.run_at <= statement_timestamp() AND request.concurrency_key IS NOT NULL THEN nextval(:'schema.job_seq'::regclass) END,
        CASE WHEN request.run_at <= statement_timestamp() THEN 'key ' || request.concurrency_key END,
        CASE WHEN request.run_at > statement_timestamp() THEN 's' WHEN request.concurrency_key IS NULL THEN 'q' ELSE 'b' END::"char",
        request.run_at, COALESCE(request.deadline, 'infinity'), pg_column_size(request.input), request.priority,
        request.max_attempts, store_job.awaited, request.namespace, request.queue, request.task, request.key, request.group_key,
        request.concurrency_key, request.key_limit, COALESCE(request.keeps_slot, false)
    ON CONFLICT DO NOTHING RETURNING * INTO job;
    RETURN job;
END $$;

-- The new input of a waiting run, merged with the old one: of arguments that are lists in both, the new one's elements follow the old
-- one's; any other is the new one's, and what the new one has not is gone.
CREATE OR REPLACE FUNCTION :schema.merge_inputs(old jsonb, input jsonb, max_bytes integer, caller text, place integer) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    merged jsonb := merge_inputs.input || COALESCE((
        SELECT jsonb_object_agg(n.key, (old -> n.key) || n.value) FROM jsonb_each(merge_inputs.input) n
        WHERE jsonb_typeof(n.value) = 'array' AND jsonb_typeof(old -> n.key) = 'array'), '{}');
BEGIN
    IF pg_column_size(merged) > max_bytes / 8 AND octet_length(merged::text) > max_bytes THEN
        PERFORM :schema.refuse_fault(ARRAY['input', format('has %s bytes once it is merged with that of the waiting run, the limit is %s',
            octet_length(merged::text), max_bytes), 'use another key, or wait until the run has started', (place - 1)::text], caller);
    END IF;
    RETURN merged;
END $$;
