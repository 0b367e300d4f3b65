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

-- The advisory lock of who makes the row of a scope in slots.
CREATE OR REPLACE FUNCTION :schema.slots_key(namespace text, scope text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(:'schema' || ' slots ' || $1 || ' ' || $2, 0)
$$;

-- On plans: what is looked for stands in a scalar subquery with a limit, or in a LATERAL one with OFFSET 0. Joined, it would be read by
-- its namespace, which all rows share, for each scope.

-- Lock scopes and add up their openings; answers those that are locked. Who else holds one may be waited for a moment (waiting), not
-- longer: a claim in a transaction that stays open holds up nobody but its own scopes.
CREATE OR REPLACE FUNCTION :schema.lock_scopes(namespace text, scopes text[], waiting boolean DEFAULT true)
RETURNS TABLE (scope text, used integer, next_at timestamptz) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted text[] := ARRAY(SELECT DISTINCT u FROM unnest(scopes) u ORDER BY 1);
    locked text[];
BEGIN
    -- Who makes a row may take long to commit; nobody waits for that.
    INSERT INTO :schema.slots (namespace, scope)
    SELECT lock_scopes.namespace, w.scope FROM unnest(wanted) AS w (scope)
    WHERE (SELECT true FROM :schema.slots s WHERE s.namespace = lock_scopes.namespace AND s.scope = w.scope LIMIT 1) IS NULL
      AND pg_try_advisory_xact_lock(:schema.slots_key(lock_scopes.namespace, w.scope))
    ON CONFLICT DO NOTHING;
    locked := ARRAY(SELECT s.scope FROM unnest(wanted) AS w (scope) CROSS JOIN LATERAL (
        SELECT s.scope FROM :schema.slots s WHERE s.namespace = lock_scopes.namespace AND s.scope = w.scope FOR UPDATE SKIP LOCKED) s);
    IF waiting AND cardinality(locked) < cardinality(wanted) THEN
        locked := locked || :schema.wait_scopes(namespace, ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(locked) ORDER BY 1));
    END IF;
    WITH taken AS (
        DELETE FROM :schema.openings o WHERE o.ctid = ANY (ARRAY(
            SELECT k.ctid FROM unnest(locked) AS l (scope) CROSS JOIN LATERAL (
                SELECT k.ctid FROM :schema.openings k
                WHERE k.namespace = lock_scopes.namespace AND k.scope = l.scope AND k.at <= clock_timestamp() OFFSET 0) k))
        RETURNING o.scope, o.freed
    ), freed AS (
        SELECT t.scope, sum(t.freed) AS freed FROM taken t GROUP BY 1 HAVING sum(t.freed) > 0
    )
    UPDATE :schema.slots s SET used = GREATEST(0, s.used - f.freed) FROM freed f CROSS JOIN LATERAL (
        SELECT k.ctid FROM :schema.slots k WHERE k.namespace = lock_scopes.namespace AND k.scope = f.scope OFFSET 0) k
    WHERE s.ctid = k.ctid;
    RETURN QUERY SELECT s.scope, s.used, s.next_at FROM unnest(locked) AS l (scope) CROSS JOIN LATERAL (
        SELECT s.* FROM :schema.slots s WHERE s.namespace = lock_scopes.namespace AND s.scope = l.scope OFFSET 0) s;
END $$;

-- Wait for scopes that somebody else has locked, one after the other; the first for which that is too long ends it.
CREATE OR REPLACE FUNCTION :schema.wait_scopes(namespace text, scopes text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET lock_timeout = '50ms' SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
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

-- Slots come back, of jobs that ended or were given back: slots says which limits counted each. Whoever waits is told, unless the caller
-- claims next (claiming) and so sees to it.
CREATE OR REPLACE FUNCTION :schema.free_slots(
    namespaces text[], queues text[], tasks text[], keys text[], slots smallint[], claiming boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO :schema.openings (namespace, scope, at, freed)
    SELECT u.namespace, v.scope, clock_timestamp(), count(*)
    FROM unnest(namespaces, queues, tasks, keys, slots) AS u (namespace, queue, task, key, slots)
    CROSS JOIN LATERAL (VALUES (1, 'queue ' || u.queue), (2, 'task ' || u.task), (4, 'key ' || u.key)) AS v (flag, scope)
    WHERE u.slots & v.flag > 0 GROUP BY 1, 2;
    IF NOT claiming THEN
        PERFORM :schema.wake(n.namespace) FROM (SELECT DISTINCT unnest(namespaces) AS namespace) n;
    END IF;
END $$;

-- Somebody waits at these gates now.
CREATE OR REPLACE FUNCTION :schema.note_waiters(namespace text, scopes text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF cardinality(scopes) > 0 THEN
        INSERT INTO :schema.openings (namespace, scope, at) SELECT namespace, u.scope, clock_timestamp() FROM unnest(scopes) AS u (scope);
        PERFORM :schema.wake(namespace);
    END IF;
END $$;

-- Have the workers that wait for the bell make a claim, without a lane to name.
CREATE OR REPLACE FUNCTION :schema.wake(namespace text) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF EXISTS (SELECT FROM :schema.bells b WHERE b.namespace = wake.namespace) THEN
        PERFORM pg_notify(:'schema', jsonb_build_object('namespace', namespace, 'ready', '[]'::jsonb)::text);
    END IF;
END $$;

-- What is said of these scopes; most scopes are keys of which nothing is.
CREATE OR REPLACE FUNCTION :schema.said_of(namespace text, scopes text[])
RETURNS TABLE (scope text, concurrency integer, rate integer, period interval, burst integer, paused_until timestamptz)
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT u.scope, n.kind, n.name, n.queue FROM unnest(scopes) AS u (scope) CROSS JOIN LATERAL (
            SELECT split_part(u.scope, ' ', 1) AS kind, CASE WHEN u.scope LIKE 'group %' THEN substr(u.scope, 7)::jsonb ->> 1
                    ELSE substr(u.scope, position(' ' IN u.scope) + 1) END AS name,
                CASE WHEN u.scope LIKE 'group %' THEN substr(u.scope, 7)::jsonb ->> 0 ELSE '' END AS queue) n
        WHERE (SELECT true FROM :schema.controls c
               WHERE c.namespace = said_of.namespace AND c.kind = n.kind AND c.name = n.name AND c.queue = n.queue LIMIT 1)
    )
    SELECT k.scope, f.concurrency, f.rate, f.period, f.burst, f.paused_until FROM known k CROSS JOIN LATERAL (
        SELECT c.* FROM :schema.controls_in_force c
        WHERE c.namespace = said_of.namespace AND c.kind = k.kind AND c.name = k.name AND c.queue = k.queue OFFSET 0) f;
END $$;

-- Which of these scopes let how many jobs through now, as far as they can be locked. most: the limit; paused: until when; rate_at: when to
-- look again if the rate is what holds them up. The limit of a key that nobody has set is what the next of its jobs says.
CREATE OR REPLACE FUNCTION :schema.scope_rooms(namespace text, scopes text[], waiting boolean DEFAULT true)
RETURNS TABLE (scope text, room integer, most integer, rated boolean, paused timestamptz, rate_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        SELECT l.scope, l.used, l.next_at, clock_timestamp() AS moment FROM :schema.lock_scopes(namespace, scopes, waiting) l
    ), said AS MATERIALIZED (
        SELECT f.* FROM :schema.said_of(namespace, scopes) f
    )
    SELECT l.scope,
        CASE WHEN f.paused_until IS NOT NULL THEN 0 ELSE GREATEST(0, LEAST(m.most - l.used,
            CASE WHEN f.rate IS NOT NULL THEN :schema.rate_room(l.next_at, f.rate, f.period, f.burst, l.moment) END, 1000000000)) END,
        m.most, f.rate IS NOT NULL, f.paused_until,
        CASE WHEN f.rate IS NOT NULL THEN :schema.rate_opens(l.next_at, f.rate, f.period, f.burst, l.moment) END
    FROM locked l LEFT JOIN said f ON f.scope = l.scope
    CROSS JOIN LATERAL (SELECT COALESCE(f.concurrency, CASE WHEN l.scope LIKE 'key %' THEN COALESCE((
        SELECT j.key_limit::integer FROM :schema.jobs j WHERE j.namespace = scope_rooms.namespace AND j.gate = l.scope
        ORDER BY j.priority, j.place LIMIT 1), 1) END) AS most) m;
END $$;

-- So many have gone through these scopes: they hold slots of those that are counted, as they say themselves, and the rate counts them.
CREATE OR REPLACE FUNCTION :schema.pass_scopes(namespace text, scopes text[], gone integer[], counted boolean[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    WITH said AS MATERIALIZED (
        SELECT f.* FROM :schema.said_of(namespace, scopes) f
    )
    UPDATE :schema.slots s SET
        used = s.used + CASE WHEN u.counted THEN u.gone ELSE 0 END,
        next_at = CASE WHEN f.rate IS NOT NULL THEN :schema.rate_next(s.next_at, f.rate, f.period, f.burst, moment, u.gone) ELSE s.next_at END
    FROM unnest(scopes, gone, counted) AS u (scope, gone, counted) LEFT JOIN said f ON f.scope = u.scope CROSS JOIN LATERAL (
        SELECT k.ctid FROM :schema.slots k WHERE k.namespace = pass_scopes.namespace AND k.scope = u.scope OFFSET 0) k
    WHERE s.ctid = k.ctid;
END $$;

-- Where somebody still waits at one of these gates, which the caller has locked and which let so many more through (rooms), there is an
-- opening to come: at once if there is room, when the rate has gathered, when a pause ends; and after a minute whatever happens.
-- opened: so many as there was room for have just been let out, as far as they could be.
CREATE OR REPLACE FUNCTION :schema.look_again(namespace text, scopes text[], rooms integer[], opened boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    waited record;
BEGIN
    SELECT array_agg(u.scope) AS scopes, array_agg(u.room) AS rooms INTO waited FROM unnest(scopes, rooms) AS u (scope, room)
    WHERE (SELECT true FROM :schema.jobs j WHERE j.namespace = look_again.namespace AND j.gate = u.scope LIMIT 1);
    IF waited.scopes IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO :schema.openings (namespace, scope, at)
    SELECT look_again.namespace, w.scope, w.at FROM (
        SELECT u.scope, CASE WHEN f.paused_until IS NOT NULL THEN f.paused_until
            WHEN f.rate IS NOT NULL AND u.room > 0 THEN GREATEST(clock_timestamp(), :schema.rate_opens(s.next_at, f.rate, f.period, f.burst, clock_timestamp()))
            WHEN u.room > 0 THEN clock_timestamp() + CASE WHEN NOT opened THEN '0' WHEN u.scope LIKE 'key %' THEN '100 milliseconds' ELSE '1 second' END::interval
            -- Unless it is the limit that holds up, of which somebody will give a slot back. What the rate lacked may have gathered by now.
            WHEN f.rate IS NOT NULL AND s.used < COALESCE(f.concurrency, 1000000000)
                THEN GREATEST(clock_timestamp() + CASE WHEN u.scope LIKE 'key %' THEN '100 milliseconds' ELSE '0' END::interval,
                              :schema.rate_opens(s.next_at, f.rate, f.period, f.burst, clock_timestamp()))
            ELSE clock_timestamp() + interval '1 minute' END AS at
        FROM unnest(waited.scopes, waited.rooms) AS u (scope, room)
        LEFT JOIN :schema.said_of(namespace, waited.scopes) f ON f.scope = u.scope
        LEFT JOIN LATERAL (SELECT s.next_at, s.used FROM :schema.slots s
                           WHERE f.rate IS NOT NULL AND s.namespace = look_again.namespace AND s.scope = u.scope OFFSET 0) s ON true) w
    WHERE w.at < 'infinity' AND (SELECT true FROM :schema.openings o WHERE o.namespace = look_again.namespace AND o.scope = w.scope
                                 AND o.at <= GREATEST(w.at, clock_timestamp()) LIMIT 1) IS NULL;
END $$;
