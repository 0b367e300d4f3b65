-- Run ids: UUIDv7 (RFC 9562), so that the primary key is also the time index and the partition key.

-- A new id. PostgreSQL 18 makes its own; before, 48 bits of milliseconds, 12 of their fraction, 62 random.
DO $do$
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        CREATE OR REPLACE FUNCTION :schema.new_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        CREATE OR REPLACE FUNCTION :schema.new_id() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE
        SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            us  bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
            low text := right(gen_random_uuid()::text, 17);
        BEGIN
            RETURN (lpad(to_hex(us / 1000), 12, '0')
                || '7' || lpad(to_hex((us % 1000) * 4096 / 1000), 3, '0')
                || translate(low, '-', ''))::uuid;
        END $body$;
    END IF;
END $do$;
COMMENT ON FUNCTION :schema.new_id() IS 'A new run id: UUIDv7, in the order of time.';

-- New ids for a batch: the first is new, each further one is the next number (RFC 9562, 6.2, method 2). A strong random number
-- for each would cost more than storing the job.
CREATE OR REPLACE FUNCTION :schema.new_ids(n integer) RETURNS uuid[] LANGUAGE sql VOLATILE STRICT PARALLEL SAFE AS $$
    -- Of the 48 bits that count the highest are 10: room to grow, and always twelve digits.
    SELECT ARRAY(SELECT (f.head || to_hex(f.low + u.i))::uuid FROM (SELECT generate_series(1, n) AS i) u)
    FROM (SELECT left(id::text, 24) AS head, ('x' || right(id::text, 12))::bit(48)::bigint & 70368744177663 | 140737488355328 AS low
          FROM (SELECT :schema.new_id() AS id OFFSET 0) first OFFSET 0) f
$$;

-- The time in an id, to the millisecond.
CREATE OR REPLACE FUNCTION :schema.id_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) $$;
COMMENT ON FUNCTION :schema.id_time(uuid) IS 'When the run of this id was asked for, to the millisecond.';

-- The smallest id of a time: a bound for ranges of ids, and so of partitions. Of times that no id can have, the first or the last one.
CREATE OR REPLACE FUNCTION :schema.id_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT (lpad(to_hex(LEAST(GREATEST(extract(epoch FROM at) * 1000, 0), 281474976710655)::bigint), 12, '0') || repeat('0', 20))::uuid $$;
COMMENT ON FUNCTION :schema.id_floor(timestamptz) IS 'The smallest id of that time; for ranges: id >= id_floor(''2026-11-01'').';

-- The neutral value of jobs.worker: nobody holds the job.
CREATE OR REPLACE FUNCTION :schema.nobody() RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '00000000-0000-0000-0000-000000000000'::uuid $$;
