-- The end of an attempt. Everything here is fenced: run, worker and claim must match, or nothing is written.

-- Runs that ended and that somebody waits for: tell them. Payload {"done": [id, …]}.
CREATE OR REPLACE FUNCTION :schema.tell_waiters(ids uuid[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_notify(:'schema', jsonb_build_object('done', jsonb_agg(u.id))::text)
    FROM unnest($1) WITH ORDINALITY AS u (id, i) WHERE u.id IS NOT NULL GROUP BY (u.i - 1) / 100
$$;

-- What is stored of an attempt that was cancelled from outside: the reason that was given, and behind it what the attempt itself
-- said; without a reason only that. ran: whether it had begun.
CREATE OR REPLACE FUNCTION :schema.cancel_error(worker uuid, id uuid, ran boolean, said jsonb DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    reason text := (SELECT c.reason FROM :schema.cancels c
                    WHERE c.worker = cancel_error.worker AND c.run_id = cancel_error.id AND c.reason IS NOT NULL LIMIT 1);
BEGIN
    IF reason IS NULL AND said ->> 'message' <> '' THEN
        RETURN said;
    END IF;
    RETURN COALESCE(said, '{}') || jsonb_build_object('type', 'Cancelled', 'retryable', false,
            'message', COALESCE(reason, CASE WHEN ran THEN 'cancelled while it ran' ELSE 'cancelled before it started' END))
        || CASE WHEN said ->> 'message' <> '' THEN jsonb_build_object('causes', jsonb_build_array(
            jsonb_build_object('type', said -> 'type', 'message', said -> 'message')) || COALESCE(said -> 'causes', '[]'))
           ELSE '{}' END;
END $$;

-- Store how attempts ended; one verdict each, in order: applied | repeated (stored already, the reply was lost) | lost (the
-- lease is gone: somebody else runs it, or it is finished; nothing was written) | busy (somebody else has locked the job, such
-- as an open transaction that cancels it; nothing was written: store it again, soon).
--   outcomes   completed | failed (for good) | retry | snoozed | cancelled | released (given back: not counted)
--   delays     seconds until a retry or a snoozed job is due
--   started, finished   seconds ago, by the worker's monotonic clock
--   closed     claims of this worker of which nothing is left
--   claiming   whether the caller claims next: nobody else is woken for the slots that come back
--   skipping   whether the caller knows the verdict busy; otherwise a job that is locked is waited for, and with it all others
-- A retry or snooze that would begin after the deadline fails for good; one of a run that is to be cancelled is cancelled.
-- Arrays run in parallel; one element in claims, outcomes or outputs stands for all.
CREATE OR REPLACE FUNCTION :schema.finish_jobs(
    worker uuid, ids uuid[], claims bigint[], outcomes text[], outputs jsonb[] DEFAULT NULL, errors jsonb[] DEFAULT NULL,
    delays double precision[] DEFAULT NULL, started double precision[] DEFAULT NULL,
    finished double precision[] DEFAULT NULL, closed bigint[] DEFAULT NULL, skipping boolean DEFAULT false,
    claiming boolean DEFAULT false
) RETURNS text[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_claim   bigint := CASE cardinality(claims) WHEN 1 THEN claims[1] END;
    one_outcome text := CASE cardinality(outcomes) WHEN 1 THEN outcomes[1] END;
    one_output  jsonb := CASE cardinality(outputs) WHEN 1 THEN outputs[1] END;
    done        record;
    applied     uuid[];
    waiters     uuid[];
    verdicts    text[];
BEGIN
    IF EXISTS (SELECT FROM unnest(outcomes) o WHERE o IS NULL
               OR o NOT IN ('completed', 'failed', 'retry', 'snoozed', 'cancelled', 'released')) THEN
        PERFORM :schema.refuse_call('outcomes', 'has an unknown outcome', 'give completed, failed, retry, snoozed, cancelled or released', 'finish_jobs');
    END IF;
    -- First the jobs that completed and, for who does not wait, that nobody can have locked: their xmax is none, or their xmin (who claimed
    -- them). What once was locked goes the longer way. Who waits does so in the order of the ids, as all do that lock several. What a limit
    -- counts gives its slots back.
    WITH gone AS (
        DELETE FROM :schema.jobs j
        USING (SELECT * FROM unnest(ids, claims, outcomes, outputs, started, finished)
                   AS u (id, claim, outcome, output, started, finished)
               WHERE COALESCE(u.outcome, one_outcome) = 'completed' ORDER BY u.id) u
        WHERE j.id = ANY (ARRAY[u.id]) AND j.worker = finish_jobs.worker AND j.claim = COALESCE(u.claim, one_claim)
          AND (NOT skipping OR j.xmax = '0' OR j.xmax = j.xmin)
        RETURNING j.id, j.claim, j.attempt, j.uncounted, j.awaited, j.claimed_at, j.namespace, j.queue, j.task, j.concurrency_key,
            j.slots, u.output, u.started, u.finished
    ), history AS (
        INSERT INTO :schema.attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output)
        SELECT g.id, finish_jobs.worker, g.claim,
            COALESCE(statement_timestamp() - g.started * interval '1 second', g.claimed_at),
            statement_timestamp() - COALESCE(g.finished, 0) * interval '1 second',
            g.attempt, g.attempt - g.uncounted, true, 'completed', COALESCE(g.output, one_output)
        FROM gone g
    )
    SELECT COALESCE(array_agg(g.id), '{}') AS ids, array_agg(g.id) FILTER (WHERE g.awaited) AS waiters,
        array_agg(g.namespace) FILTER (WHERE g.slots > 0) AS namespaces, array_agg(g.queue) FILTER (WHERE g.slots > 0) AS queues,
        array_agg(g.task) FILTER (WHERE g.slots > 0) AS tasks, array_agg(g.concurrency_key) FILTER (WHERE g.slots > 0) AS keys,
        array_agg(g.slots) FILTER (WHERE g.slots > 0) AS slots INTO done FROM gone g;
    applied := done.ids;
    waiters := done.waiters;
    IF done.slots IS NOT NULL THEN
        PERFORM :schema.free_slots(done.namespaces, done.queues, done.tasks, done.keys, done.slots, claiming);
    END IF;
    IF cardinality(applied) < cardinality(ids) THEN
        IF NOT skipping THEN
            PERFORM :schema.lock_held(worker, ids, claims, false);
        END IF;
        applied := applied || :schema.finish_others(worker, ids, claims, outcomes, outputs, errors, delays, started, finished, claiming);
    END IF;
    IF cardinality(applied) = cardinality(ids) THEN
        verdicts := array_fill('applied'::text, ARRAY[cardinality(ids)]);
    ELSE
        SELECT array_agg(CASE
                WHEN u.id = ANY (applied) THEN 'applied'
                -- What is history under this claim as lost, or as released though it went on, was not stored by this call.
                WHEN EXISTS (SELECT FROM :schema.attempts a WHERE a.run_id = u.id AND a.worker = finish_jobs.worker
                             AND a.claim = COALESCE(u.claim, one_claim) AND CASE COALESCE(u.outcome, one_outcome)
                                 WHEN 'retry' THEN a.outcome IN ('failed', 'cancelled')
                                 WHEN 'snoozed' THEN a.outcome IN ('snoozed', 'failed', 'cancelled')
                                 WHEN 'released' THEN a.outcome IN ('released', 'cancelled')
                                 ELSE a.outcome = COALESCE(u.outcome, one_outcome) END) THEN 'repeated'
                WHEN EXISTS (SELECT FROM :schema.jobs j WHERE j.id = u.id AND j.worker = finish_jobs.worker
                             AND j.claim = COALESCE(u.claim, one_claim)) THEN 'busy'
                ELSE 'lost' END ORDER BY u.i) INTO verdicts
        FROM unnest(ids, claims, outcomes) WITH ORDINALITY AS u (id, claim, outcome, i);
    END IF;
    IF closed IS NOT NULL THEN  -- a claim under which a job is busy is not closed: nobody could find the job without it
        DELETE FROM :schema.claims c WHERE c.worker = finish_jobs.worker AND c.claim = ANY (closed)
            AND (cardinality(applied) = cardinality(ids) OR c.claim NOT IN (
                SELECT COALESCE(u.claim, one_claim) FROM unnest(claims, verdicts) AS u (claim, verdict)
                WHERE u.verdict = 'busy'));
    END IF;
    IF waiters IS NOT NULL THEN
        PERFORM :schema.tell_waiters(waiters);
    END IF;
    RETURN COALESCE(verdicts, '{}');
END $$;
COMMENT ON FUNCTION :schema.finish_jobs(uuid, uuid[], bigint[], text[], jsonb[], jsonb[], double precision[], double precision[], double precision[], bigint[], boolean, boolean) IS
    'Store how attempts ended; one verdict each: applied, repeated, lost or busy.';

-- Lock those of these jobs that the worker holds under their claims, in the order of their ids; answers which. skipping: what
-- somebody else has locked is left out, not waited for.
CREATE OR REPLACE FUNCTION :schema.lock_held(worker uuid, ids uuid[], claims bigint[], skipping boolean) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_claim bigint := CASE cardinality(claims) WHEN 1 THEN claims[1] END;
BEGIN
    IF skipping THEN
        RETURN ARRAY(
            SELECT j.id FROM (SELECT u.id, COALESCE(u.claim, one_claim) AS claim FROM unnest(ids, claims) AS u (id, claim) ORDER BY 1) u
            JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = lock_held.worker AND j.claim = u.claim
            FOR UPDATE OF j SKIP LOCKED);
    END IF;
    RETURN ARRAY(
        SELECT j.id FROM (SELECT u.id, COALESCE(u.claim, one_claim) AS claim FROM unnest(ids, claims) AS u (id, claim) ORDER BY 1) u
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = lock_held.worker AND j.claim = u.claim
        FOR UPDATE OF j);
END $$;

-- All outcomes, with a look at the row, which most of them need. What somebody else has locked is left out. Answers the runs
-- applied.
CREATE OR REPLACE FUNCTION :schema.finish_others(
    worker uuid, ids uuid[], claims bigint[], outcomes text[], outputs jsonb[], errors jsonb[], delays double precision[],
    started double precision[], finished double precision[], claiming boolean
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_claim   bigint := CASE cardinality(claims) WHEN 1 THEN claims[1] END;
    one_outcome text := CASE cardinality(outcomes) WHEN 1 THEN outcomes[1] END;
    one_output  jsonb := CASE cardinality(outputs) WHEN 1 THEN outputs[1] END;
    did record;
BEGIN
    PERFORM pg_current_xact_id();
    WITH held AS MATERIALIZED (
        SELECT j.*, u.output, u.error, u.delay, u.started, u.finished, u.outcome AS told
        FROM (SELECT DISTINCT ON (u.id, u.claim) u.* FROM (  -- of two outcomes for one attempt the first counts
                  SELECT u.id, COALESCE(u.claim, one_claim) AS claim, COALESCE(u.outcome, one_outcome) AS outcome,
                      COALESCE(u.output, one_output) AS output, u.error, u.delay, u.started, u.finished, u.i
                  FROM unnest(ids, claims, outcomes, outputs, errors, delays, started, finished)
                      WITH ORDINALITY AS u (id, claim, outcome, output, error, delay, started, finished, i)) u
              ORDER BY u.id, u.claim, u.i) u
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = finish_others.worker AND j.claim = u.claim
        FOR UPDATE OF j SKIP LOCKED
    ), decided AS MATERIALIZED (
        SELECT h.*, h.told IN ('retry', 'snoozed') AND COALESCE(h.delay, 0) <= 0 AND h.concurrency_key IS NOT NULL AND NOT h.keeps_slot AS waits_key, statement_timestamp() + COALESCE(h.delay, 0) * interval '1 second' AS again_at, CASE
            WHEN h.told IN ('retry', 'snoozed', 'released') AND h.cancelled THEN 'cancelled'
            WHEN h.told IN ('retry', 'snoozed')
                 AND statement_timestamp() + COALESCE(h.delay, 0) * interval '1 second' > h.deadline THEN 'failed'
            ELSE h.told END AS outcome,
            -- Who is given back keeps the slot of its key, as it keeps its place; and who will be tried again, if the key's order is to hold.
            (h.slots & CASE WHEN NOT h.cancelled AND (h.told = 'released' OR (h.keeps_slot AND h.told IN ('retry', 'snoozed')
                AND statement_timestamp() + COALESCE(h.delay, 0) * interval '1 second' <= h.deadline)) THEN 3 ELSE 7 END)::smallint AS freed
        FROM held h
    ), gone AS (
        DELETE FROM :schema.jobs j USING decided d WHERE j.id = ANY (ARRAY[d.id]) AND d.outcome IN ('completed', 'failed', 'cancelled') RETURNING j.id
    ), again AS (
        UPDATE :schema.jobs j SET worker = :schema.nobody(), claim = 0,
            uncounted = j.uncounted + CASE WHEN d.outcome = 'retry' THEN 0 ELSE 1 END,
            run_at = CASE WHEN d.outcome = 'released' THEN j.run_at ELSE d.again_at END,
            seq = CASE WHEN d.outcome = 'released' THEN j.seq WHEN COALESCE(d.delay, 0) <= 0 AND NOT d.waits_key THEN nextval(:'schema.job_seq'::regclass) END,
            state = CASE WHEN d.waits_key THEN 'b' WHEN d.outcome = 'released' OR COALESCE(d.delay, 0) <= 0 THEN 'q' WHEN d.outcome = 'snoozed' THEN 's' ELSE 't' END::"char",
            slots = j.slots - d.freed,
            gate = CASE WHEN d.outcome = 'released' AND j.seq < 0 THEN 'back ' || j.queue WHEN d.waits_key THEN 'key ' || j.concurrency_key END,
            place = CASE WHEN d.outcome = 'released' AND j.seq < 0 THEN j.seq WHEN d.waits_key THEN nextval(:'schema.job_seq'::regclass) END
        FROM decided d WHERE j.id = ANY (ARRAY[d.id]) AND d.outcome IN ('retry', 'snoozed', 'released')
        RETURNING j.namespace, j.queue, j.priority, j.seq, j.run_at, d.outcome
    ), history AS (
        INSERT INTO :schema.attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output, error)
        SELECT d.id, finish_others.worker, d.claim, COALESCE(statement_timestamp() - d.started * interval '1 second', d.claimed_at),
            statement_timestamp() - COALESCE(d.finished, 0) * interval '1 second', d.attempt, d.attempt - d.uncounted,
            d.outcome IN ('completed', 'failed', 'cancelled'), CASE d.outcome WHEN 'retry' THEN 'failed' ELSE d.outcome END,
            CASE WHEN d.outcome = 'completed' THEN d.output END,
            CASE WHEN d.outcome = 'completed' THEN NULL WHEN d.outcome = 'cancelled' AND d.cancelled
                THEN :schema.cancel_error(finish_others.worker, d.id, d.state = 'r', d.error)
            WHEN d.told = 'snoozed' AND d.outcome = 'failed' THEN jsonb_build_object('type', 'DeadlinePassed',
                'message', format('snoozed until after its deadline (%s)', d.deadline), 'retryable', false) ELSE d.error END
        FROM decided d
    ), announced AS MATERIALIZED (
        SELECT :schema.announce(a.namespace, array_agg(a.queue) FILTER (WHERE a.outcome <> 'released'),
                array_agg(a.priority) FILTER (WHERE a.outcome <> 'released'), array_agg(a.seq) FILTER (WHERE a.outcome <> 'released'),
                array_agg(a.run_at) FILTER (WHERE a.outcome <> 'released')),
            :schema.note_returns(a.namespace, array_agg(a.queue) FILTER (WHERE a.outcome = 'released'),
                array_agg(a.priority) FILTER (WHERE a.outcome = 'released'), array_agg(a.seq) FILTER (WHERE a.outcome = 'released'))
        FROM again a GROUP BY a.namespace
    )
    SELECT array_agg(d.id) AS applied, (SELECT count(*) FROM announced) AS lanes,
        array_agg(d.id) FILTER (WHERE d.awaited AND d.outcome IN ('completed', 'failed', 'cancelled')) AS waiters,
        array_agg(d.namespace) FILTER (WHERE d.freed > 0) AS namespaces, array_agg(d.queue) FILTER (WHERE d.freed > 0) AS queues,
        array_agg(d.task) FILTER (WHERE d.freed > 0) AS tasks, array_agg(d.concurrency_key) FILTER (WHERE d.freed > 0) AS keys,
        array_agg(d.freed) FILTER (WHERE d.freed > 0) AS freed
    INTO did FROM decided d;
    PERFORM :schema.tell_waiters(did.waiters);
    IF did.freed IS NOT NULL THEN
        PERFORM :schema.free_slots(did.namespaces, did.queues, did.tasks, did.keys, did.freed, claiming);
    END IF;
    RETURN COALESCE(did.applied, '{}');
END $$;

-- Waiting jobs (nobody holds them) end without an attempt: cancelled or expired. Answers how many.
CREATE OR REPLACE FUNCTION :schema.end_waiting(ids uuid[], outcome text, error jsonb DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    did record;
BEGIN
    WITH held AS MATERIALIZED (
        SELECT j.id FROM (SELECT u.id FROM unnest(ids) AS u (id) ORDER BY 1) u JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id])
        WHERE j.worker = :schema.nobody() FOR UPDATE OF j
    ), gone AS (
        DELETE FROM :schema.jobs j USING held h WHERE j.id = ANY (ARRAY[h.id]) RETURNING j.*
    ), history AS (
        INSERT INTO :schema.attempts (run_id, finished_at, attempt, counted, final, outcome, error)
        SELECT g.id, statement_timestamp(), g.attempt + 1, g.attempt - g.uncounted, true, end_waiting.outcome, end_waiting.error FROM gone g
    )
    SELECT count(*) AS ended, array_agg(g.id) FILTER (WHERE g.awaited) AS waiters,
        array_agg(g.namespace) FILTER (WHERE g.slots > 0) AS namespaces,
        array_agg(g.queue) FILTER (WHERE g.slots > 0) AS queues,
        array_agg(g.task) FILTER (WHERE g.slots > 0) AS tasks,
        array_agg(g.concurrency_key) FILTER (WHERE g.slots > 0) AS keys,
        array_agg(g.slots) FILTER (WHERE g.slots > 0) AS slots
    INTO did FROM gone g;
    PERFORM :schema.tell_waiters(did.waiters);
    IF did.slots IS NOT NULL THEN  -- let through, or waiting for a retry: it held the slot of its key
        PERFORM :schema.free_slots(did.namespaces, did.queues, did.tasks, did.keys, did.slots);
    END IF;
    RETURN did.ended;
END $$;
