-- Month partitions of the history. No default partition: it would forbid DETACH CONCURRENTLY.

-- Make sure that this month and the next ones have partitions; returns the names of those made.
-- A partition is made as a table of its own with its CHECK, then attached, so that the parent is locked for an
-- instant and no row is scanned. Safe to run everywhere at once; waits for no lock longer than the caller's lock_timeout.
CREATE OR REPLACE FUNCTION :schema.ensure_partitions(ahead integer DEFAULT 2) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET timezone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    part   text;
    first  timestamptz;
    low    uuid;
    high   uuid;
    keycol text;
BEGIN
    ahead := COALESCE(ahead, 2);
    IF ahead NOT BETWEEN 0 AND 120 THEN
        PERFORM :schema.refuse('ahead', format('is %s', ahead), 'give how many months ahead, 0 to 120', 'ensure_partitions');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(:'schema' || ' partitions', 0));
    FOR first IN SELECT generate_series(date_trunc('month', now() - interval '1 hour'),
                                        date_trunc('month', now() + interval '5 minutes') + ahead * interval '1 month',
                                        interval '1 month')
    LOOP
        FOREACH parent IN ARRAY ARRAY['run_requests', 'attempts', 'run_log'] LOOP
            part := parent || '_' || to_char(first, 'YYYYMM');
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = :'schema' AND c.relname = part AND c.relispartition);
            low := :schema.id_floor(first);
            high := :schema.id_floor(first + interval '1 month');
            keycol := CASE parent WHEN 'run_requests' THEN 'id' ELSE 'run_id' END;
            IF to_regclass(format('%I.%I', :'schema', part)) IS NULL THEN
                EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                               :'schema', part, :'schema', parent);
                EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I CHECK (%I >= %L AND %I < %L)',
                               :'schema', part, part || '_month', keycol, low, keycol, high);
            END IF;
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                           :'schema', parent, :'schema', part, low, high);
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION :schema.ensure_partitions(integer) IS 'Make the month partitions of this month and the next ones.';
