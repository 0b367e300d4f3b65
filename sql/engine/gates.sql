-- Control, what it leads to: slots, rates, and gates.
--
-- A scope is a queue, a task, a concurrency key or a group. One that is limited has a row in `slots`: how many of its jobs hold a slot,
-- and when its rate lets the next one through. Only claims change that row, each under the row's lock: so no limit is passed, whatever
-- races. What gives slots back (a finish, a release, a rescue) never waits for that lock: it inserts into `openings`, and who has the
-- lock next adds them up. A job knows which limits count it (jobs.slots), so that each slot comes back once, also when the limits
-- have been changed since.
--
-- A job that may not begin waits at the gate of its scope, outside the claim index. One with a concurrency key stands there from the
-- beginning, in the order of its key; one of a task or group is set aside by the claim that meets it and finds the scope full, and keeps
-- the place it had in its lane. Openings bring them out: each says that from its time on a scope may let jobs through. A claim takes in
-- the openings that are due, and lets as many out as there is room for. Who is let out stands in its lane with its old place, which
-- reading has passed by then; so it is found by the gate 'back <queue>'. A key's slot is taken at its gate, a task's or queue's
-- when the job is claimed. What is done is in proportion to the jobs that move, not to those that wait.
--
-- Nothing is lost between the two: a scope's openings are added up under its lock, and then it is seen who waits; an opening that could
-- not be seen stays in its table for the next claim. A gate at which jobs wait always has an opening to come, at the latest after a minute.

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

-- Slots come back, of jobs that ended or were given back: slots says which limits counted each. Whoever waits is told.
CREATE OR REPLACE FUNCTION :schema.free_slots(
    namespaces text[], queues text[], tasks text[], keys text[], slots smallint[]
) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO :schema.openings (namespace, scope, at, freed)
    SELECT u.namespace, v.scope, clock_timestamp(), count(*)
    FROM unnest(namespaces, queues, tasks, keys, slots) AS u (namespace, queue, task, key, slots)
    CROSS JOIN LATERAL (VALUES (1, 'queue ' || u.queue), (2, 'task ' || u.task), (4, 'key ' || u.key)) AS v (flag, scope)
    WHERE u.slots & v.flag > 0 GROUP BY 1, 2;
    PERFORM :schema.wake(n.namespace) FROM (SELECT DISTINCT unnest(namespaces) AS namespace) n;
END $$;

-- Somebody waits at these gates now.
CREATE OR REPLACE FUNCTION :schema.note_waiters(namespace text, scopes text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
#variable_conflict use_variable
BEGIN
    IF cardinality(scopes) > 0 THEN
        INSERT INTO :schema.openings (namespace, scope, at) SELECT namespace, u.scope, clock_timestamp() FROM unnest(scopes) AS u (scope);
        PERFORM :schema.wake(namespace);
    END IF;
END $$;

-- Have the workers that wait for the bell make a claim, without a lane to name.
CREATE OR REPLACE FUNCTION :schema.wake(namespace text) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog AS $$
#variable_conflict use_variable
BEGIN
    IF EXISTS (SELECT FROM :schema.bells b WHERE b.namespace = wake.namespace) THEN
        PERFORM pg_notify(:'schema', jsonb_build_object('namespace', namespace, 'ready', '[]'::jsonb)::text);
    END IF;
END $$;

-- Which of these scopes let how many jobs through now, as far as they can be locked. most: the limit; paused: until when; rate_at: when to
-- look again if the rate is what holds them up. The limit of a key that nobody has set is what the next of its jobs says.
CREATE OR REPLACE FUNCTION :schema.scope_rooms(namespace text, scopes text[], waiting boolean DEFAULT true)
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
    CROSS JOIN LATERAL (SELECT COALESCE(f.concurrency, CASE WHEN l.scope LIKE 'key %' THEN COALESCE((
        SELECT j.key_limit::integer FROM :schema.jobs j WHERE j.namespace = scope_rooms.namespace AND j.gate = l.scope
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

-- Where somebody still waits at one of these gates, which the caller has locked, there is an opening to come: at once if there is room,
-- when the rate has gathered, when a pause ends; and after a minute whatever happens.
CREATE OR REPLACE FUNCTION :schema.look_again(namespace text, scopes text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    moment  timestamptz := clock_timestamp();
    waiting text[];
    ats     timestamptz[];
BEGIN
    -- Of its own, as it takes in the openings that have become due: who asked in the same statement would still see them there.
    SELECT array_agg(w.scope), array_agg(w.at) INTO waiting, ats FROM (
        SELECT s.scope, CASE WHEN s.paused IS NOT NULL THEN s.paused WHEN s.room > 0 THEN clock_timestamp()
            -- From before the look: what held up in it may have gathered by now.
            WHEN s.rate_at > moment THEN s.rate_at ELSE clock_timestamp() + interval '1 minute' END AS at
        FROM :schema.scope_rooms(namespace, ARRAY(
            SELECT u.scope FROM unnest(scopes) AS u (scope)
            WHERE EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = look_again.namespace AND j.gate = u.scope)), false) s) w;
    INSERT INTO :schema.openings (namespace, scope, at)
    SELECT look_again.namespace, w.scope, w.at FROM unnest(waiting, ats) AS w (scope, at)
    WHERE w.at < 'infinity' AND NOT EXISTS (SELECT FROM :schema.openings o
        WHERE o.namespace = look_again.namespace AND o.scope = w.scope AND o.at <= GREATEST(w.at, clock_timestamp()));
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
    queues text[]; priorities smallint[]; keys text[];
BEGIN
    IF cardinality(due) = 0 THEN
        RETURN 0;
    END IF;
    SELECT array_agg(r.scope) AS scopes, array_agg(r.room) AS rooms INTO s FROM :schema.scope_rooms(namespace, due, false) r;
    WITH out AS MATERIALIZED (
        SELECT j.id, CASE WHEN o.scope LIKE 'key %' THEN o.scope END AS key FROM unnest(s.scopes, s.rooms) AS o (scope, room) CROSS JOIN LATERAL (
            SELECT j.id FROM :schema.jobs j WHERE j.namespace = open_gates.namespace AND j.gate = o.scope
            ORDER BY j.priority, j.place LIMIT LEAST(o.room, most) FOR UPDATE SKIP LOCKED
        ) j LIMIT most
    ), back AS (
        UPDATE :schema.jobs j SET seq = j.place, gate = 'back ' || j.queue, state = 'q', slots = j.slots | CASE WHEN o.key IS NOT NULL THEN 4 ELSE 0 END
        FROM out o WHERE j.id = ANY (ARRAY[o.id]) RETURNING j.queue, j.priority, o.key
    )
    SELECT array_agg(b.queue), array_agg(b.priority), array_agg(b.key) FILTER (WHERE b.key IS NOT NULL) INTO queues, priorities, keys FROM back b;
    IF keys IS NOT NULL THEN
        PERFORM :schema.pass_scopes(namespace, array_agg(k.key), array_agg(k.gone))
        FROM (SELECT u.key, count(*)::integer AS gone FROM unnest(keys) AS u (key) GROUP BY 1 ORDER BY 1) k;
    END IF;
    IF queues IS NOT NULL THEN
        PERFORM :schema.note_returning(namespace, queues, priorities), :schema.wake(namespace);
    END IF;
    PERFORM :schema.look_again(namespace, s.scopes);
    -- The row of a key that nobody has used for a while goes.
    DELETE FROM :schema.slots d USING unnest(s.scopes) AS u (scope)
    WHERE d.namespace = open_gates.namespace AND d.scope = ANY (ARRAY[u.scope]) AND d.used = 0 AND d.next_at <= clock_timestamp()
      AND u.scope LIKE 'key %'
      AND NOT EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = d.namespace AND o.scope = d.scope)
      AND NOT EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = d.namespace AND j.gate = d.scope);
    RETURN COALESCE(cardinality(queues), 0);
END $$;
