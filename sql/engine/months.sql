-- Months of the history that are dropped as a whole. Each step keeps every lock for an instant only, and asks for it under the caller's
-- lock_timeout; none is one for which an enqueue or a claim has to wait. Whoever is interrupted goes on where the catalogues say that it was:
--   attached    as any month
--   frozen      nothing can be written to it any more (a trigger says so), so what was found of it stays true
--   detaching   DETACH … CONCURRENTLY was begun, and waits for those who were reading then, or was interrupted
--   detached    tables of their own, to be dropped
-- DETACH … CONCURRENTLY cannot be run by a function: retire_month answers the next statement, for the caller to run outside a transaction.

-- The months that there are, oldest first: bounds of their ids, how far they are on their way out, and what they take.
CREATE OR REPLACE FUNCTION :schema.history_months()
RETURNS TABLE (month text, low uuid, high uuid, state text, rows bigint, bytes bigint) LANGUAGE sql VOLATILE
SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.month, :schema.id_floor(to_timestamp(t.month, 'YYYYMM')), :schema.id_floor(to_timestamp(t.month, 'YYYYMM') + interval '1 month'),
        CASE WHEN bool_or(t.detaching) THEN 'detaching' WHEN NOT bool_and(t.attached) THEN 'detached'
             WHEN bool_or(t.frozen) THEN 'frozen' ELSE 'attached' END,
        sum(t.rows) FILTER (WHERE t.parent = 'run_requests')::bigint, sum(t.bytes)::bigint
    FROM (
        SELECT right(c.relname, 6) AS month, left(c.relname, -7) AS parent, c.relispartition AS attached,
            COALESCE((SELECT i.inhdetachpending FROM pg_inherits i WHERE i.inhrelid = c.oid), false) AS detaching,
            EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'openqueue_frozen' AND g.tgenabled <> 'D') AS frozen,
            GREATEST(c.reltuples, s.n_live_tup, 0) AS rows, pg_total_relation_size(c.oid) AS bytes
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
        WHERE n.nspname = :'schema' AND c.relkind = 'r' AND c.relname ~ '^(run_requests|attempts|run_log)_\d{6}$'
    ) t GROUP BY t.month ORDER BY t.month
$$;

-- Why a month cannot go as a whole, or null: it can. Rules as in prune.sql. What costs little is looked at first; if nothing is found, its
-- tables are read once, which locks nothing.
CREATE OR REPLACE FUNCTION :schema.why_month_stays(
    month text, namespace text, tasks text[], queues text[], statuses text[], ages interval[]
) RETURNS text LANGUAGE plpgsql VOLATILE SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    first constant timestamptz := to_timestamp(month, 'YYYYMM');
    low   constant uuid := :schema.id_floor(first);
    high  constant uuid := :schema.id_floor(first + interval '1 month');
    rule  constant text := '(SELECT u.age FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u (task, queue, status, age, i)
        WHERE (u.task IS NULL OR u.task = %s) AND (u.queue IS NULL OR u.queue = %s) AND (u.status IS NULL OR u.status = a.outcome) ORDER BY u.i LIMIT 1)';
    plain constant boolean := NOT EXISTS (SELECT FROM unnest(tasks, queues) AS u (task, queue) WHERE u.task IS NOT NULL OR u.queue IS NOT NULL);
    found_one boolean;
BEGIN
    IF first + interval '1 month' > statement_timestamp() - GREATEST((SELECT min(u.age) FROM unnest(ages) AS u (age)), interval '2 hours') THEN
        RETURN 'it is not old enough';
    ELSIF EXISTS (SELECT FROM :schema.jobs j WHERE j.id >= low AND j.id < high) THEN
        RETURN 'a run in it is not finished';
    ELSIF EXISTS (SELECT FROM :schema.schedules s CROSS JOIN LATERAL (
            SELECT t.run_id FROM :schema.schedule_ticks t WHERE t.namespace = s.namespace AND t.schedule = s.key AND t.run_id IS NOT NULL
            ORDER BY t.run_id DESC LIMIT 1) t WHERE t.run_id >= low AND t.run_id < high) THEN
        RETURN 'a schedule''s newest run is in it';
    ELSIF EXISTS (SELECT FROM :schema.idempotency d WHERE d.run >= low AND d.run < high AND d.expires > statement_timestamp()) THEN
        RETURN 'an idempotency key answers a run in it';
    END IF;
    IF plain THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I a WHERE a.final AND NOT COALESCE(a.finished_at < statement_timestamp() - %s, false))',
                       :'schema', 'attempts_' || month, format(rule, 'NULL', 'NULL'))
        INTO found_one USING tasks, queues, statuses, ages;
        IF found_one THEN
            RETURN 'a run in it is to be kept';
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I r WHERE r.namespace <> $1)', :'schema', 'run_requests_' || month)
        INTO found_one USING namespace;
        RETURN CASE WHEN found_one THEN 'another namespace has runs in it' END;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %1$I.%2$I r LEFT JOIN %1$I.%3$I a ON a.run_id = r.id AND a.final
                    WHERE r.namespace <> $5 OR a.run_id IS NOT NULL AND NOT COALESCE(a.finished_at < statement_timestamp() - %4$s, false))',
                   :'schema', 'run_requests_' || month, 'attempts_' || month, format(rule, 'r.task', 'r.queue'))
    INTO found_one USING tasks, queues, statuses, ages, namespace;
    RETURN CASE WHEN found_one THEN 'a run in it is to be kept' END;
END $$;

-- What is written to a month that is about to be dropped is refused: to run one of its runs again, above all.
CREATE OR REPLACE FUNCTION :schema.refuse_frozen() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is being removed, with all runs of its month', TG_TABLE_NAME),
        HINT = 'these runs are older than retention keeps them: enqueue a new one instead';
END $$;

-- Let nothing be written to a month any more, unless a run in it is unfinished; says whether it is frozen now. Waits, no longer than
-- lock_timeout, until nobody is writing to it; who reads it is not in the way.
CREATE OR REPLACE FUNCTION :schema.freeze_month(month text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['run_requests_' || month, 'attempts_' || month] LOOP
        CONTINUE WHEN to_regclass(format('%I.%I', :'schema', part)) IS NULL;
        EXECUTE format('CREATE OR REPLACE TRIGGER openqueue_frozen BEFORE INSERT OR UPDATE OR DELETE ON %I.%I
                        FOR EACH ROW EXECUTE FUNCTION %I.refuse_frozen()', :'schema', part, :'schema');
        EXECUTE format('ALTER TABLE %I.%I ENABLE TRIGGER openqueue_frozen', :'schema', part);
    END LOOP;
    IF EXISTS (SELECT FROM :schema.jobs j WHERE j.id >= :schema.id_floor(to_timestamp(month, 'YYYYMM'))
               AND j.id < :schema.id_floor(to_timestamp(month, 'YYYYMM') + interval '1 month')) THEN
        PERFORM :schema.thaw_month(month);
        RETURN false;
    END IF;
    RETURN true;
END $$;

-- Let a month be written to again.
CREATE OR REPLACE FUNCTION :schema.thaw_month(month text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['run_requests_' || month, 'attempts_' || month] LOOP
        IF EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = to_regclass(format('%I.%I', :'schema', part)) AND g.tgname = 'openqueue_frozen') THEN
            EXECUTE format('ALTER TABLE %I.%I DISABLE TRIGGER openqueue_frozen', :'schema', part);
        END IF;
    END LOOP;
END $$;

-- The next step of dropping a month that is frozen: a statement to be run outside a transaction, after which this is called again. Null: it
-- is gone. Before the drop `jobs` is looked at once more; were there a job of that month, it would be attached again, and that is an error.
CREATE OR REPLACE FUNCTION :schema.retire_month(month text) RETURNS text
LANGUAGE plpgsql VOLATILE SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    low  constant uuid := :schema.id_floor(to_timestamp(month, 'YYYYMM'));
    high constant uuid := :schema.id_floor(to_timestamp(month, 'YYYYMM') + interval '1 month');
    parent text;
    part   record;
BEGIN
    FOREACH parent IN ARRAY ARRAY['attempts', 'run_log', 'run_requests'] LOOP
        SELECT c.relname, c.relispartition AS attached, COALESCE(i.inhdetachpending, false) AS pending INTO part
        FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE c.oid = to_regclass(format('%I.%I', :'schema', parent || '_' || month));
        IF part.pending THEN
            RETURN format('ALTER TABLE %I.%I DETACH PARTITION %I.%I FINALIZE', :'schema', parent, :'schema', part.relname);
        ELSIF part.attached THEN
            RETURN format('ALTER TABLE %I.%I DETACH PARTITION %I.%I CONCURRENTLY', :'schema', parent, :'schema', part.relname);
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM :schema.jobs j WHERE j.id >= low AND j.id < high) THEN
        FOREACH parent IN ARRAY ARRAY['run_requests', 'run_log', 'attempts'] LOOP
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                           :'schema', parent, :'schema', parent || '_' || month, low, high);
        END LOOP;
        PERFORM :schema.thaw_month(month);
        RETURN NULL;
    END IF;
    FOREACH parent IN ARRAY ARRAY['attempts', 'run_log', 'run_requests'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', :'schema', parent || '_' || month);
    END LOOP;
    RETURN NULL;
END $$;
