-- The SQL contract, the end of an attempt: what a worker in any language says of the jobs that it holds. One door behind all of
-- it, finish_jobs, which fences: worker, run and claim must match. Waits for a job that somebody has locked.

-- Raise that an argument has a value that it cannot have; place: of which function. (refuse, but not worked out ahead of its time.)
CREATE OR REPLACE FUNCTION :schema.refuse_call(field text, problem text, remedy text, place text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM :schema.refuse(field, problem, remedy, place);
END $$;

-- Refuse what cannot name a job that a worker holds. plural: the caller takes arrays.
CREATE OR REPLACE FUNCTION :schema.check_fence(worker uuid, ids uuid[], claims bigint[], plural boolean, place text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s text := CASE WHEN plural THEN 's' ELSE '' END;
BEGIN
    IF worker IS NULL THEN
        PERFORM :schema.refuse_call('worker', 'is null', 'give the id that start_worker answered', place);
    ELSIF ids IS NULL OR array_ndims(ids) > 1 OR array_position(ids, NULL) IS NOT NULL THEN
        PERFORM :schema.refuse_call('id' || s, 'is null or has a null', 'give what get_job answered as id', place);
    ELSIF claims IS NULL OR array_ndims(claims) > 1 OR array_position(claims, NULL) IS NOT NULL THEN
        PERFORM :schema.refuse_call('claim' || s, 'is null or has a null', 'give what get_job answered as claim', place);
    ELSIF cardinality(claims) NOT IN (1, cardinality(ids)) THEN
        PERFORM :schema.refuse_call('claims', format('has %s elements, ids has %s', cardinality(claims), cardinality(ids)),
                               'give one for each id, or one that stands for all', place);
    END IF;
END $$;

-- Seconds until the attempt after this one, by what the task's workers have published: fixed or exponential. A policy that is a
-- function is known to its worker alone: for it, and for a task that nobody has published, exp(min(attempt, 10)) s ± 25 %.
CREATE OR REPLACE FUNCTION :schema.retry_delay(namespace text, task text, attempt integer) RETURNS double precision
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    policy jsonb := (SELECT c.options -> 'backoff' FROM :schema.catalog c
                     WHERE c.namespace = retry_delay.namespace AND c.task = retry_delay.task ORDER BY c.seen_at DESC LIMIT 1);
    jitter double precision := COALESCE((policy ->> 'jitter')::double precision, 0.25);
    factor double precision := exp(1);
    base   double precision := exp(1);
    cap    double precision := exp(10);
BEGIN
    IF policy ->> 'kind' = 'fixed' THEN
        base := (policy ->> 'delay')::double precision; factor := 1; cap := base;
    ELSIF policy ->> 'kind' = 'exponential' THEN
        base := (policy ->> 'base')::double precision; factor := (policy ->> 'factor')::double precision;
        cap := (policy ->> 'cap')::double precision;
    END IF;
    -- The exponent is held below what a double can take.
    RETURN LEAST(base * exp(LEAST(GREATEST(attempt - 1, 0) * ln(factor), 600)), cap) * (1 + jitter * (2 * random() - 1));
END $$;

-- Jobs are done. One verdict each: applied | repeated (stored by an earlier call, whose reply was lost) | lost (the worker no longer
-- holds it: nothing was written).
CREATE OR REPLACE FUNCTION :schema.complete_jobs(worker uuid, ids uuid[], claims bigint[], outputs jsonb[] DEFAULT NULL)
RETURNS text[] LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    verdicts text[];
    held     jsonb;
    fault    record;
BEGIN
    PERFORM :schema.check_fence(worker, ids, claims, true, 'complete_jobs');
    SELECT u.i, octet_length(u.output::text) AS bytes INTO fault FROM unnest(outputs) WITH ORDINALITY AS u (output, i)
    WHERE octet_length(u.output::text) > 1048576 LIMIT 1;
    IF FOUND THEN
        PERFORM :schema.refuse_call('output', format('has %s bytes, the limit is 1048576', fault.bytes),
                               'store large data elsewhere and answer a reference to it', format('outputs[%s]', fault.i));
    ELSIF outputs IS NOT NULL AND cardinality(outputs) NOT IN (1, cardinality(ids)) THEN
        PERFORM :schema.refuse_call('outputs', format('has %s elements, ids has %s', cardinality(outputs), cardinality(ids)),
                               'give one for each id, or one that stands for all', 'complete_jobs');
    END IF;
    held := :schema.held_stats(worker, ids, claims);
    verdicts := :schema.finish_jobs(worker, ids, claims, ARRAY['completed'], outputs);
    PERFORM :schema.count_ended(worker, held, ARRAY['completed'], verdicts);
    PERFORM :schema.drop_claims(worker, claims);
    RETURN verdicts;
END $$;
COMMENT ON FUNCTION :schema.complete_jobs(uuid, uuid[], bigint[], jsonb[]) IS
    'Jobs that a worker holds are done; one verdict each: applied | repeated | lost. One claim or output stands for all. Example: SELECT complete_jobs(:worker, ARRAY[:id1, :id2]::uuid[], ARRAY[:claim])';

-- A job is done; its output is the run's result.
CREATE OR REPLACE FUNCTION :schema.complete_job(worker uuid, id uuid, claim bigint, output jsonb DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM :schema.check_fence($1, ARRAY[$2], ARRAY[$3], false, 'complete_job');
    RETURN (:schema.complete_jobs($1, ARRAY[$2], ARRAY[$3], ARRAY[$4]))[1];
END $$;
COMMENT ON FUNCTION :schema.complete_job(uuid, uuid, bigint, jsonb) IS
    'A job that a worker holds is done; the output is the run''s result. Answers applied | repeated (stored before, the reply was lost) | lost (somebody else has it: nothing was written). Example: SELECT complete_job(:worker, :id, :claim, ''{"sent": true}'')';

-- Attempts failed. retry_ats: when the next one is due, NULL: by the task's policy. There is none after max_attempts, past the
-- deadline, or with give_up; a run that is to be cancelled ends as cancelled. details: more to store, such as type and traceback.
CREATE OR REPLACE FUNCTION :schema.fail_jobs(
    worker uuid, ids uuid[], claims bigint[], errors text[] DEFAULT NULL, retry_ats timestamptz[] DEFAULT NULL,
    give_up boolean DEFAULT false, details jsonb[] DEFAULT NULL
) RETURNS text[] LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    a        record;
    fault    record;
    held     jsonb;
    verdicts text[];
BEGIN
    PERFORM :schema.check_fence(worker, ids, claims, true, 'fail_jobs');
    SELECT d.i, jsonb_typeof(d.detail) AS type INTO fault FROM unnest(details) WITH ORDINALITY AS d (detail, i)
    WHERE jsonb_typeof(d.detail) <> 'object' OR octet_length(d.detail::text) > 49152 LIMIT 1;
    IF FOUND THEN
        PERFORM :schema.refuse_call('details', 'must be a JSON object of at most 49152 bytes', 'pass {"type": …, "traceback": …}',
                               format('details[%s]', fault.i));
    END IF;
    SELECT i.value INTO fault FROM unnest(retry_ats) AS i (value)
    WHERE i.value NOT BETWEEN '0001-01-02 00:00+00' AND '9998-12-31 00:00+00' LIMIT 1;
    IF FOUND THEN
        PERFORM :schema.refuse_call('retry_at', format('is %s', fault.value), 'give a time before the year 9999', 'fail_jobs');
    END IF;
    SELECT array_agg(d.outcome ORDER BY d.i) AS outcomes, array_agg(d.delay ORDER BY d.i) AS delays,
        array_agg(jsonb_build_object('type', 'Error', 'message', COALESCE(left(d.error, 16384), 'failed, and did not say why'))
                  || COALESCE(d.detail, '{}') || jsonb_build_object('retryable', d.outcome = 'retry') ORDER BY d.i) AS errors
    INTO a FROM (
        SELECT u.i, COALESCE(u.error, CASE cardinality(errors) WHEN 1 THEN errors[1] END) AS error, u.detail, o.outcome,
            CASE o.outcome WHEN 'retry' THEN COALESCE(extract(epoch FROM u.retry_at - statement_timestamp())::double precision,
                :schema.retry_delay(j.namespace, j.task, j.attempt - j.uncounted)) END AS delay
        FROM unnest(ids, claims, errors, retry_ats, details) WITH ORDINALITY AS u (id, claim, error, retry_at, detail, i)
        LEFT JOIN :schema.jobs j ON j.id = u.id AND j.worker = fail_jobs.worker AND j.claim = COALESCE(u.claim, claims[1])
        CROSS JOIN LATERAL (SELECT CASE WHEN j.cancelled THEN 'cancelled'
            WHEN give_up OR j.attempt - j.uncounted >= j.max_attempts THEN 'failed' ELSE 'retry' END AS outcome) o
    ) d;
    held := :schema.held_stats(worker, ids, claims);
    verdicts := :schema.finish_jobs(worker, ids, claims, a.outcomes, errors => a.errors, delays => a.delays);
    PERFORM :schema.count_ended(worker, held, a.outcomes, verdicts);
    PERFORM :schema.drop_claims(worker, claims);
    RETURN verdicts;
END $$;
COMMENT ON FUNCTION :schema.fail_jobs(uuid, uuid[], bigint[], text[], timestamptz[], boolean, jsonb[]) IS
    'Attempts of a worker failed; one verdict each: applied | repeated | lost. Example: SELECT fail_jobs(:worker, ARRAY[:id]::uuid[], ARRAY[:claim], ARRAY[''the server is down''])';

-- An attempt failed: see fail_jobs.
CREATE OR REPLACE FUNCTION :schema.fail_job(
    worker uuid, id uuid, claim bigint, error text DEFAULT NULL, retry_at timestamptz DEFAULT NULL, give_up boolean DEFAULT false,
    details jsonb DEFAULT NULL
) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM :schema.check_fence($1, ARRAY[$2], ARRAY[$3], false, 'fail_job');
    RETURN (:schema.fail_jobs($1, ARRAY[$2], ARRAY[$3], ARRAY[$4], ARRAY[$5], $6, ARRAY[$7]))[1];
END $$;
COMMENT ON FUNCTION :schema.fail_job(uuid, uuid, bigint, text, timestamptz, boolean, jsonb) IS
    'An attempt failed. It is repeated at retry_at, or when the task''s policy says (fixed or exponential; else exp(min(attempt, 10)) s ± 25 %); not after max_attempts, nor with give_up. Answers applied | repeated | lost. Example: SELECT fail_job(:worker, :id, :claim, ''the server is down'')';
