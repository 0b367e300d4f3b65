-- How runs are found that are rare by what was asked (task, queue, meta, tags): a stretch of the history at once. Of its pages only those
-- are read in which the indexes (BRIN: ids, tasks and queues; GIN: meta, tags) do not rule them out.

-- Runs of which the conditions hold of their request (r), from a place towards stop: a stretch after the other, each as wide as can be
-- read quickly, until there are enough or time is up. place: up to where all were found; ended: that is the end. Where a millisecond has `most`
-- of them it gives up, and place stays where it is.
CREATE OR REPLACE FUNCTION :schema.search_gather(
    conditions text, INOUT place uuid, stop uuid, newest_first boolean, INOUT width interval, enough integer, most integer,
    patience double precision, OUT found_ids uuid[], OUT ended boolean
) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off SET enable_bitmapscan = on
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    begun CONSTANT timestamptz := clock_timestamp();
    low   uuid;
    high  uuid;
    seen  uuid[];
    step  timestamptz;
    took  double precision;
BEGIN
    PERFORM set_config('search_path', quote_ident(:'schema') || ', pg_temp', true);
    found_ids := '{}';
    LOOP
        ended := CASE WHEN newest_first THEN place <= stop ELSE place >= stop END;
        EXIT WHEN ended OR cardinality(found_ids) >= enough OR extract(epoch FROM clock_timestamp() - begun) > patience;
        low := CASE WHEN newest_first THEN GREATEST(stop, :schema.id_floor(:schema.id_time(place) - width)) ELSE place END;
        high := CASE WHEN newest_first THEN place ELSE LEAST(stop, :schema.id_floor(:schema.id_time(place) + width)) END;
        step := clock_timestamp();
        EXECUTE format('SELECT COALESCE(array_agg(s.id), ''{}'') FROM (SELECT r.id FROM run_requests r WHERE r.id >= %L AND r.id < %L AND %s LIMIT %s) s',
                       low, high, conditions, most) INTO seen;
        took := extract(epoch FROM clock_timestamp() - step);
        IF cardinality(seen) >= most THEN
            EXIT WHEN width <= '1 millisecond';
            width := GREATEST(width / 8, '1 millisecond');
            CONTINUE;
        END IF;
        found_ids := found_ids || seen;
        place := CASE WHEN newest_first THEN low ELSE high END;
        width := LEAST(GREATEST(width * CASE WHEN took > 0.02 THEN 0.5 WHEN took > 0.008 THEN 1 ELSE 4 END, '1 millisecond'), '1000 days');
    END LOOP;
END $$;
