-- Statistics without counting history: workers add up what ends, tell it with their heartbeats, and who leads adds that up by the minute,
-- the hour and the day. What a worker that is killed has not told yet, the last few seconds at most, is in the history and not here.
--
-- A histogram is an array: element 1 counts what took less than 0.1 ms, element k what took less than 0.1 ms * 2^((k - 1) / 4), up to
-- element 128, 84 hours and more. So a quantile is right within a fifth. Zeros at the end are left out.

-- One histogram added to another.
CREATE OR REPLACE FUNCTION :schema.add_counts(a bigint[], b bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN cardinality($1) = 0 THEN $2 WHEN cardinality($2) = 0 THEN $1
        ELSE ARRAY(SELECT COALESCE(u.a, 0) + COALESCE(u.b, 0) FROM unnest($1, $2) WITH ORDINALITY AS u (a, b, i) ORDER BY u.i) END
$$;
CREATE OR REPLACE AGGREGATE :schema.sum_counts(bigint[]) (SFUNC = :schema.add_counts, STYPE = bigint[], INITCOND = '{}');

-- The seconds below which this share of a histogram is; null if it is empty.
CREATE OR REPLACE FUNCTION :schema.quantile(counts bigint[], share double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rest double precision := share * (SELECT sum(u.n) FROM unnest(counts) AS u (n));
BEGIN
    IF COALESCE(rest, 0) <= 0 THEN
        RETURN NULL;
    END IF;
    FOR k IN 1 .. cardinality(counts) LOOP
        IF counts[k] >= rest THEN  -- within the bucket in proportion, on the logarithmic scale
            RETURN 0.0001 * 2 ^ ((k - 2 + rest / counts[k]) / 4);
        END IF;
        rest := rest - counts[k];
    END LOOP;
    RETURN 0.0001 * 2 ^ ((cardinality(counts) - 1) / 4.0);
END $$;
COMMENT ON FUNCTION :schema.quantile(bigint[], double precision) IS
    'The seconds below which this share of a histogram of statistics is, right within a fifth. Example: SELECT quantile(waited, 0.95) FROM stats WHERE span = ''day''';

-- Where in a histogram so many seconds count.
CREATE OR REPLACE FUNCTION :schema.count_of(seconds double precision) RETURNS integer[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_fill(0, ARRAY[k - 1]) || 1 FROM (SELECT LEAST(GREATEST(2 + floor(4 * log(2, (GREATEST($1, 0.00005) / 0.0001)::numeric))::integer, 1), 128) AS k) b
$$;

-- A worker tells what has ended: [{"queue", "task", "completed", "failed", "retried", "snoozed", "cancelled", "released", "waited", "ran"}],
-- under a number of its own. What it has told before is not counted twice.
CREATE OR REPLACE FUNCTION :schema.tell_stats(worker uuid, n bigint, namespace text, cells jsonb) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO :schema.stats_deltas (worker, n, at, completed, failed, retried, snoozed, cancelled, released, namespace, queue, task, waited, ran)
    SELECT $1, $2, clock_timestamp(), COALESCE(c.completed, 0), COALESCE(c.failed, 0), COALESCE(c.retried, 0), COALESCE(c.snoozed, 0),
        COALESCE(c.cancelled, 0), COALESCE(c.released, 0), $3, c.queue, c.task, COALESCE(c.waited, '{}'), COALESCE(c.ran, '{}')
    FROM jsonb_to_recordset($4) AS c (queue text, task text, completed integer, failed integer, retried integer, snoozed integer,
                                      cancelled integer, released integer, waited integer[], ran integer[])
    ON CONFLICT DO NOTHING
$$;

-- A worker beats (beat_worker), says what its process takes, and tells what has ended. now: by it the worker knows its clock from ours.
CREATE OR REPLACE FUNCTION :schema.beat_worker_and_tell(
    worker uuid, state text, running integer, inflight bigint[], timeout interval, rss bigint, cpu real, n bigint, namespace text, cells jsonb
) RETURNS TABLE (known boolean, cancels uuid[], others integer, released integer, now timestamptz)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    beat record;
BEGIN
    SELECT * INTO beat FROM :schema.beat_worker(worker, state, running, inflight, timeout);
    IF beat.known THEN
        UPDATE :schema.workers w SET rss = beat_worker_and_tell.rss, cpu = beat_worker_and_tell.cpu WHERE w.id = worker;
    END IF;
    IF cells IS NOT NULL THEN
        PERFORM :schema.tell_stats(worker, n, namespace, cells);
    END IF;
    RETURN QUERY SELECT beat.known, beat.cancels, beat.others, beat.released, clock_timestamp();
END $$;

-- What of these jobs, which a worker of the SQL contract holds, is to be counted when they have ended.
CREATE OR REPLACE FUNCTION :schema.held_stats(worker uuid, ids uuid[], claims bigint[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (SELECT jsonb_agg(CASE WHEN j.id IS NOT NULL THEN jsonb_build_object('namespace', j.namespace, 'queue', j.queue, 'task', j.task,
            'waited', extract(epoch FROM j.claimed_at - j.run_at), 'ran', extract(epoch FROM clock_timestamp() - j.claimed_at)) END ORDER BY u.i)
        FROM unnest(ids, claims) WITH ORDINALITY AS u (id, claim, i)
        LEFT JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = held_stats.worker AND j.claim = COALESCE(u.claim, claims[1]));
END $$;

-- Count them: those whose verdict is applied. outcomes as finish_jobs takes them; one stands for all.
CREATE OR REPLACE FUNCTION :schema.count_ended(worker uuid, held jsonb, outcomes text[], verdicts text[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO :schema.stats_deltas (worker, n, at, completed, failed, retried, snoozed, cancelled, released, namespace, queue, task, waited, ran)
    SELECT $1, nextval(:'schema.log_seq'::regclass), clock_timestamp(), count(*) FILTER (WHERE e.outcome = 'completed'),
        count(*) FILTER (WHERE e.outcome = 'failed'), count(*) FILTER (WHERE e.outcome = 'retry'), count(*) FILTER (WHERE e.outcome = 'snoozed'),
        count(*) FILTER (WHERE e.outcome = 'cancelled'), 0, e.namespace, e.queue, e.task,
        :schema.sum_counts(:schema.count_of(e.waited)::bigint[])::integer[], :schema.sum_counts(:schema.count_of(e.ran)::bigint[])::integer[]
    FROM (
        SELECT h.job ->> 'namespace' AS namespace, h.job ->> 'queue' AS queue, h.job ->> 'task' AS task, (h.job ->> 'waited')::double precision AS waited,
            (h.job ->> 'ran')::double precision AS ran, CASE cardinality($3) WHEN 1 THEN $3[1] ELSE $3[h.i] END AS outcome
        FROM jsonb_array_elements($2) WITH ORDINALITY AS h (job, i) WHERE $4[h.i] = 'applied' AND jsonb_typeof(h.job) = 'object'
    ) e GROUP BY e.namespace, e.queue, e.task
$$;

-- Add up what workers of a namespace have told until the last full minute, at most so many rows; answers how many. Safe if two do it.
CREATE OR REPLACE FUNCTION :schema.roll_up_stats(namespace text, most integer DEFAULT 5000) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    added integer;
BEGIN
    WITH told AS MATERIALIZED (
        SELECT d.ctid AS place FROM :schema.stats_deltas d
        WHERE d.namespace = roll_up_stats.namespace AND d.at < date_trunc('minute', clock_timestamp()) ORDER BY d.at LIMIT most FOR UPDATE SKIP LOCKED
    ), taken AS (
        DELETE FROM :schema.stats_deltas d USING told t WHERE d.ctid = t.place RETURNING d.*
    ), added AS (
        INSERT INTO :schema.stats AS s (namespace, span, at, queue, task, completed, failed, retried, snoozed, cancelled, released, waited, ran)
        SELECT roll_up_stats.namespace, v.span, date_trunc(v.span, t.at), t.queue, t.task, sum(t.completed), sum(t.failed), sum(t.retried),
            sum(t.snoozed), sum(t.cancelled), sum(t.released), :schema.sum_counts(t.waited::bigint[]), :schema.sum_counts(t.ran::bigint[])
        FROM taken t CROSS JOIN (VALUES ('day'), ('hour'), ('minute')) AS v (span)
        GROUP BY v.span, date_trunc(v.span, t.at), t.queue, t.task ORDER BY 2, 3, 4, 5
        ON CONFLICT ON CONSTRAINT stats_pkey DO UPDATE SET completed = s.completed + EXCLUDED.completed, failed = s.failed + EXCLUDED.failed,
            retried = s.retried + EXCLUDED.retried, snoozed = s.snoozed + EXCLUDED.snoozed, cancelled = s.cancelled + EXCLUDED.cancelled,
            released = s.released + EXCLUDED.released, waited = :schema.add_counts(s.waited, EXCLUDED.waited),
            ran = :schema.add_counts(s.ran, EXCLUDED.ran)
    )
    SELECT count(*) INTO added FROM taken;
    RETURN added;
END $$;

-- Forget statistics that are older than they are kept: minutes after two days, hours after 60 days, days after two years.
CREATE OR REPLACE FUNCTION :schema.forget_stats(namespace text) RETURNS integer
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    gone integer;
BEGIN
    DELETE FROM :schema.stats s USING (VALUES ('minute', interval '2 days'), ('hour', interval '60 days'), ('day', interval '2 years')) AS k (span, age)
    WHERE s.namespace = forget_stats.namespace AND s.span = k.span AND s.at < clock_timestamp() - k.age;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- How attempts ended in the last minutes, by namespace, queue and task; since: from when. Also what has not been added up yet.
CREATE OR REPLACE FUNCTION :schema.recent_stats(minutes integer DEFAULT 5) RETURNS TABLE (
    namespace text, queue text, task text, since timestamptz, completed bigint, failed bigint, retried bigint, snoozed bigint, cancelled bigint,
    released bigint, waited bigint[], ran bigint[]
) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.namespace, t.queue, t.task, t.since, sum(t.completed)::bigint, sum(t.failed)::bigint, sum(t.retried)::bigint, sum(t.snoozed)::bigint,
        sum(t.cancelled)::bigint, sum(t.released)::bigint, :schema.sum_counts(t.waited), :schema.sum_counts(t.ran)
    FROM (
        SELECT s.namespace, s.queue, s.task, w.since, s.completed, s.failed, s.retried, s.snoozed, s.cancelled, s.released, s.waited, s.ran
        FROM (SELECT date_trunc('minute', statement_timestamp()) - $1 * interval '1 minute' AS since) w
        JOIN :schema.stats s ON s.span = 'minute' AND s.at >= w.since
        UNION ALL
        SELECT d.namespace, d.queue, d.task, w.since, d.completed, d.failed, d.retried, d.snoozed, d.cancelled, d.released, d.waited::bigint[], d.ran::bigint[]
        FROM (SELECT date_trunc('minute', statement_timestamp()) - $1 * interval '1 minute' AS since) w
        JOIN :schema.stats_deltas d ON d.at >= w.since
    ) t GROUP BY t.namespace, t.queue, t.task, t.since
$$;
COMMENT ON FUNCTION :schema.recent_stats(integer) IS
    'How attempts ended in the last minutes, by queue and task, with histograms of how long they waited (from due to start) and ran. Example: SELECT queue, sum(completed), quantile(sum_counts(waited), 0.95) FROM recent_stats(5) GROUP BY queue';
