-- Idempotency: an enqueue that is repeated with its key answers the run that the first one made, whatever has become of it.
--
-- The row of a key is written with the run, in the caller's transaction. A second enqueue with the key waits for that transaction
-- (the primary key sees to it) and answers its run, or makes one if it was rolled back. All keys of a batch are taken before any job is
-- touched, in order: so two batches do not wait for each other in a circle.

-- Take these keys for runs that are to be. For each job that has one: the run, and whether it is this call that makes it (false: an
-- earlier enqueue did, or an earlier job of this batch). ttls in seconds; one stands for all, NULL is a day.
CREATE OR REPLACE FUNCTION :schema.take_idempotency(
    namespace text, tasks text[], keys text[], ttls double precision[], OUT runs uuid[], OUT taken boolean[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_task text := CASE cardinality(tasks) WHEN 1 THEN tasks[1] END;
    one_ttl  double precision := CASE cardinality(ttls) WHEN 1 THEN ttls[1] END;
    item record;
    last_task text; last_key text;
    found_run uuid;
    is_taken  boolean;
BEGIN
    runs := array_fill(NULL::uuid, ARRAY[cardinality(keys)]);
    taken := array_fill(NULL::boolean, ARRAY[cardinality(keys)]);
    FOR item IN
        SELECT COALESCE(u.task, one_task) AS task, u.key,
            statement_timestamp() + COALESCE(u.ttl, one_ttl, 86400) * interval '1 second' AS expires, u.i::integer AS i
        FROM unnest(tasks, keys, ttls) WITH ORDINALITY AS u (task, key, ttl, i) WHERE u.key IS NOT NULL ORDER BY 1, 2, 4
    LOOP
        IF item.task = last_task AND item.key = last_key THEN
            is_taken := false;
        ELSE
            LOOP
                SELECT d.run INTO found_run FROM :schema.idempotency d
                WHERE d.namespace = take_idempotency.namespace AND d.task = item.task AND d.key = item.key
                  AND d.expires > statement_timestamp();
                is_taken := NOT FOUND;
                EXIT WHEN FOUND;
                INSERT INTO :schema.idempotency AS d (namespace, task, key, run, expires)
                VALUES (take_idempotency.namespace, item.task, item.key, :schema.new_id(), item.expires)
                ON CONFLICT ON CONSTRAINT idempotency_pkey DO UPDATE SET run = EXCLUDED.run, expires = EXCLUDED.expires
                WHERE d.expires <= statement_timestamp()
                RETURNING d.run INTO found_run;
                EXIT WHEN FOUND;  -- otherwise somebody else has just taken it: their run, then
            END LOOP;
            last_task := item.task; last_key := item.key;
        END IF;
        runs[item.i] := found_run; taken[item.i] := is_taken;
    END LOOP;
END $$;

-- Forget keys whose time is over, at most so many; answers how many. What somebody is just replacing is left to them.
CREATE OR REPLACE FUNCTION :schema.forget_idempotency(most integer DEFAULT 10000) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    gone integer;
BEGIN
    WITH old AS MATERIALIZED (
        SELECT d.ctid FROM :schema.idempotency d WHERE d.expires <= statement_timestamp()
        ORDER BY d.expires LIMIT most FOR UPDATE SKIP LOCKED
    ), dropped AS (
        DELETE FROM :schema.idempotency d USING old WHERE d.ctid = old.ctid RETURNING 1
    ) SELECT count(*) INTO gone FROM dropped;
    RETURN gone;
END $$;
COMMENT ON FUNCTION :schema.forget_idempotency(integer) IS
    'Remove idempotency keys whose time is over; answers how many. Example: SELECT forget_idempotency()';
