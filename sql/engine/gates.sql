-- Control, what it leads to: slots, rates, and gates.
--
-- A scope is a queue, a task, a concurrency key or a group. One that is limited has a row in `slots`: how many of its jobs hold a slot,
-- and when its rate lets the next one through. Only claims change that row, each under the row's lock: so no limit is passed, whatever
-- races. What gives slots back (a finish, a release, a rescue) never waits for that lock: it inserts into `openings`, and who has the
-- lock next adds them up. A job knows which limits count it (jobs.slots), so that each slot comes back once, also when the limits
-- have been changed since.
--
-- A claim that meets a job whose scope is full sets it aside: it waits at the scope's gate, outside the claim index, with the place it
-- had. Openings bring it back: each says that from its time on a scope may let jobs through. A claim takes in the openings that are
-- due, and lets as many jobs out of the gate as there is room for, in their old order. They stand in an index of their own then
-- (jobs_returned), as their lane has been read beyond them. What is done is in proportion to the jobs that move, not to those that wait.
--
-- Nothing is lost between the two: a job is set aside under the scope's lock, after all openings that could be seen were added up; one
-- that could not be seen stays in its table for the next claim. And a gate at which jobs wait always has an opening to come, at the
-- latest after a minute.

-- How many a rate lets through at a moment, by the generic cell rate algorithm (ITU-T I.371): next_at is the theoretical arrival time
-- of the next one. Without a burst as many may go together as belong to 50 ms: claims do not come more often.
CREATE OR REPLACE FUNCTION :schema.rate_room(next_at timestamptz, rate integer, period interval, burst integer, now timestamptz)
RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 > $5 THEN 0 ELSE LEAST(b.burst, 1 + floor(LEAST(1e9, extract(epoch FROM $5 - GREATEST($1, $5 - (b.burst - 1) * b.every)) / extract(epoch FROM b.every))))::integer END
    FROM (SELECT $3 / $2 AS every, COALESCE($4, GREATEST(1, ceil(0.05 * $2 / extract(epoch FROM $3))))::integer AS burst) b
$$;

-- next_at after so many have gone through.
CREATE OR REPLACE FUNCTION :schema.rate_next(next_at timestamptz, rate integer, period interval, burst integer, now timestamptz, gone bigint)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT GREATEST($1, $5 - (b.burst - 1) * b.every) + $6 * b.every
    FROM (SELECT $3 / $2 AS every, COALESCE($4, GREATEST(1, ceil(0.05 * $2 / extract(epoch FROM $3))))::integer AS burst) b
$$;

-- When to look at a rate again: as soon as what belongs to 10 ms has gathered, so that a high rate does not mean a claim for each job.
CREATE OR REPLACE FUNCTION :schema.rate_opens(next_at timestamptz, rate integer, period interval, burst integer) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT $1 + GREATEST(0, LEAST(COALESCE($4, 1000000), ceil(0.01 * $2 / extract(epoch FROM $3))) - 1) * ($3 / $2)
$$;

-- Lock scopes and add up their openings; answers those that are locked. Who else holds one may be waited for a moment (waiting), not
-- longer: a claim in a transaction that stays open holds up nobody but its own scopes.
CREATE OR REPLACE FUNCTION :schema.lock_scopes(namespace text, scopes text[], waiting boolean DEFAULT true)
RETURNS TABLE (scope text, used integer, next_at timestamptz) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    wanted text[] := ARRAY(SELECT DISTINCT u FROM unnest(scopes) u ORDER BY 1);
    locked text[];
BEGIN
    -- Who makes a row may take long to commit; nobody waits for that.
    INSERT INTO :schema.slots (namespace, scope)
    SELECT lock_scopes.namespace, w.scope FROM unnest(wanted) AS w (scope)
    WHERE NOT EXISTS (SELECT FROM :schema.slots s WHERE s.namespace = lock_scopes.namespace AND s.scope = w.scope)
      AND pg_try_advisory_xact_lock(hashtextextended(:'schema' || ' slots ' || lock_scopes.namespace || ' ' || w.scope, 0))
    ON CONFLICT DO NOTHING;
    locked := ARRAY(SELECT s.scope FROM unnest(wanted) AS w (scope)
                    JOIN :schema.slots s ON s.namespace = lock_scopes.namespace AND s.scope = ANY (ARRAY[w.scope]) FOR UPDATE OF s SKIP LOCKED);
    IF waiting AND cardinality(locked) < cardinality(wanted) THEN
        locked := locked || :schema.wait_scopes(namespace, ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(locked) ORDER BY 1));
    END IF;
    WITH taken AS (
        DELETE FROM :schema.openings o USING unnest(locked) AS l (scope)
        WHERE o.namespace = lock_scopes.namespace AND o.scope = l.scope AND o.at <= clock_timestamp() RETURNING o.scope, o.freed
    ), freed AS (
        SELECT t.scope, sum(t.freed) AS freed FROM taken t GROUP BY 1 HAVING sum(t.freed) > 0
    )
    UPDATE :schema.slots s SET used = GREATEST(0, s.used - f.freed) FROM freed f
    WHERE s.namespace = lock_scopes.namespace AND s.scope = ANY (ARRAY[f.scope]);
    RETURN QUERY SELECT s.scope, s.used, s.next_at FROM unnest(locked) AS l (scope)
        JOIN :schema.slots s ON s.namespace = lock_scopes.namespace AND s.scope = ANY (ARRAY[l.scope]);
END $$;

-- Wait for scopes that somebody else has locked, one after the other; the first for which that is too long ends it.
CREATE OR REPLACE FUNCTION :schema.wait_scopes(namespace text, scopes text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET lock_timeout = '50ms' SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    one    text;
    locked text[] := '{}';
BEGIN
    FOREACH one IN ARRAY scopes LOOP
        BEGIN
            PERFORM FROM :schema.slots s WHERE s.namespace = wait_scopes.namespace AND s.scope = one FOR UPDATE;
            IF FOUND THEN
                locked := locked || one;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            RETURN locked;
        END;
    END LOOP;
    RETURN locked;
END $$;

-- Slots come back: of jobs that ended or were given back, with which limits counted each. Whoever waits is told.
-- kept: those that keep the slot of their key, as they will be tried again.
CREATE OR REPLACE FUNCTION :schema.free_slots(
    namespaces text[], queues text[], tasks text[], keys text[], slots smallint[]
) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    one text;
BEGIN
    INSERT INTO :schema.openings (namespace, scope, at, freed)
    SELECT u.namespace, v.scope, clock_timestamp(), count(*) FILTER (WHERE u.slots & v.flag > 0)
    FROM unnest(namespaces, queues, tasks, keys, slots) AS u (namespace, queue, task, key, slots)
    CROSS JOIN LATERAL (VALUES (1, 'queue ' || u.queue), (2, 'task ' || u.task), (4, 'key ' || u.key)) AS v (flag, scope)
    WHERE u.slots & v.flag > 0 OR (v.flag = 4 AND u.key IS NOT NULL) GROUP BY 1, 2;
    FOR one IN SELECT DISTINCT unnest(namespaces) LOOP
        IF EXISTS (SELECT FROM :schema.bells b WHERE b.namespace = one) THEN
            PERFORM pg_notify(:'schema', jsonb_build_object('namespace', one, 'ready', '[]'::jsonb)::text);
        END IF;
    END LOOP;
END $$;

-- Which of these scopes let how many jobs through now, as far as they can be locked. paused: until when; rate_at: when to look again if
-- the rate is what holds them up. The limit of a key that nobody has set is what its jobs say (limits, in parallel to scopes).
CREATE OR REPLACE FUNCTION :schema.scope_rooms(namespace text, scopes text[], limits integer[] DEFAULT NULL, waiting boolean DEFAULT true)
RETURNS TABLE (scope text, room integer, most integer, rated boolean, paused timestamptz, rate_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT l.scope,
        CASE WHEN f.paused_until IS NOT NULL THEN 0 ELSE GREATEST(0, LEAST(m.most - l.used,
            CASE WHEN f.rate IS NOT NULL THEN :schema.rate_room(l.next_at, f.rate, f.period, f.burst, moment) END, 1000000000)) END,
        m.most, f.rate IS NOT NULL, f.paused_until,
        CASE WHEN f.rate IS NOT NULL THEN :schema.rate_opens(l.next_at, f.rate, f.period, f.burst) END
    FROM :schema.lock_scopes(namespace, scopes, waiting) l
    LEFT JOIN LATERAL (SELECT c.* FROM :schema.controls_in_force c
        WHERE c.namespace = scope_rooms.namespace AND c.kind = split_part(l.scope, ' ', 1)
          AND c.name = CASE WHEN l.scope LIKE 'group %' THEN substr(l.scope, 7)::jsonb ->> 1 ELSE substr(l.scope, position(' ' IN l.scope) + 1) END
          AND c.queue = CASE WHEN l.scope LIKE 'group %' THEN substr(l.scope, 7)::jsonb ->> 0 ELSE '' END OFFSET 0) f ON true
    CROSS JOIN LATERAL (SELECT COALESCE(f.concurrency, CASE WHEN l.scope LIKE 'key %' THEN COALESCE(
        (SELECT max(u.most) FROM unnest(scopes, limits) AS u (scope, most) WHERE u.scope = l.scope),
        (SELECT j.key_limit::integer FROM :schema.jobs j WHERE j.namespace = scope_rooms.namespace AND j.gate = l.scope
         ORDER BY j.priority, j.place LIMIT 1), 1) END) AS most) m;
END $$;

-- So many have gone through these scopes: they hold slots where there is a limit, and the rate counts them.
CREATE OR REPLACE FUNCTION :schema.pass_scopes(namespace text, scopes text[], gone integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    UPDATE :schema.slots s SET
        used = s.used + CASE WHEN s.scope LIKE 'key %' OR f.concurrency IS NOT NULL THEN u.gone ELSE 0 END,
        next_at = CASE WHEN f.rate IS NOT NULL THEN :schema.rate_next(s.next_at, f.rate, f.period, f.burst, moment, u.gone) ELSE s.next_at END
    FROM unnest(scopes, gone) AS u (scope, gone)
    LEFT JOIN LATERAL (SELECT c.* FROM :schema.controls_in_force c
        WHERE c.namespace = pass_scopes.namespace AND c.kind = split_part(u.scope, ' ', 1) AND c.queue = ''
          AND c.name = substr(u.scope, position(' ' IN u.scope) + 1) OFFSET 0) f ON true
    WHERE s.namespace = pass_scopes.namespace AND s.scope = ANY (ARRAY[u.scope]);
END $$;

-- Take in the openings that are due: let jobs out of the gates, as many as there is room for, in the order they had. Answers how many.
CREATE OR REPLACE FUNCTION :schema.open_gates(namespace text, most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    due    text[] := ARRAY(SELECT DISTINCT o.scope FROM (
                  SELECT o.scope FROM :schema.openings o WHERE o.namespace = open_gates.namespace AND o.at <= clock_timestamp()
                  ORDER BY o.at LIMIT 2000) o LIMIT 200);
    s      record;
    queues text[]; priorities smallint[];
BEGIN
    IF cardinality(due) = 0 THEN
        RETURN 0;
    END IF;
    SELECT array_agg(r.scope) AS scopes, array_agg(r.room) AS rooms, array_agg(r.paused) AS pauses, array_agg(r.rate_at) AS rate_ats
    INTO s FROM :schema.scope_rooms(namespace, due, waiting => false) r;
    WITH out AS MATERIALIZED (
        SELECT j.id FROM unnest(s.scopes, s.rooms) AS o (scope, room) CROSS JOIN LATERAL (
            SELECT j.id FROM :schema.jobs j WHERE j.namespace = open_gates.namespace AND j.gate = o.scope
            ORDER BY j.priority, j.place LIMIT LEAST(o.room, most) FOR UPDATE SKIP LOCKED
        ) j LIMIT most
    ), back AS (
        UPDATE :schema.jobs j SET seq = j.place, place = NULL, gate = NULL, state = 'q', returned = true
        FROM out o WHERE j.id = ANY (ARRAY[o.id]) RETURNING j.queue, j.priority
    )
    SELECT array_agg(b.queue), array_agg(b.priority) INTO queues, priorities FROM back b;
    IF queues IS NOT NULL THEN
        PERFORM :schema.govern_lanes(namespace, queues, priorities);
        IF :schema.bell_is_on(namespace, queues) THEN
            PERFORM pg_notify(:'schema', jsonb_build_object('namespace', namespace, 'ready', '[]'::jsonb)::text);
        END IF;
    END IF;
    -- What still waits is looked at again: when the pause ends, when the rate has gathered, at once if only `most` held it up.
    INSERT INTO :schema.openings (namespace, scope, at)
    SELECT open_gates.namespace, u.scope, CASE WHEN u.paused IS NOT NULL THEN u.paused
        WHEN u.room > most THEN clock_timestamp() WHEN u.rate_at > clock_timestamp() THEN u.rate_at
        ELSE clock_timestamp() + interval '1 minute' END
    FROM unnest(s.scopes, s.rooms, s.pauses, s.rate_ats) AS u (scope, room, paused, rate_at)
    WHERE u.paused IS DISTINCT FROM 'infinity'
      AND EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = open_gates.namespace AND j.gate = u.scope)
      AND NOT EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = open_gates.namespace AND o.scope = u.scope
                      AND o.at <= CASE WHEN u.paused IS NOT NULL THEN u.paused ELSE clock_timestamp() + interval '1 minute' END
                      AND (u.room <= most OR o.at <= clock_timestamp()) AND (u.rate_at IS NULL OR o.at <= u.rate_at));
    -- The row of a key that nobody has used for a while goes.
    DELETE FROM :schema.slots d USING unnest(s.scopes) AS u (scope)
    WHERE d.namespace = open_gates.namespace AND d.scope = ANY (ARRAY[u.scope]) AND d.used = 0 AND d.next_at <= clock_timestamp()
      AND u.scope LIKE 'key %'
      AND NOT EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = d.namespace AND o.scope = d.scope)
      AND NOT EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = d.namespace AND j.concurrency_key = substr(d.scope, 5));
    RETURN COALESCE(cardinality(queues), 0);
END $$;
