-- How runs are found. A search walks an index in the order that was asked for, a step of some hundred to some thousand rows at a time, and
-- looks of each row whether it is one of those looked for. When the page is full, the end is reached, or it has walked `budget` rows or
-- `patience` seconds, it answers what it has, and the place from which to go on: so each call is quick whatever lies in the history.
--
-- Which index (search_branches): that of what is rarest by its nature: a key, a schedule's ticks, a type of error, unfinished runs, those that
-- ended unhappily; otherwise the ids, which are in the order of time. If the first step does not fill the page and what is looked for is in
-- a set that may be small (search_set: those of this worker, with this key …), the set is asked for; if it is small, it is all that is
-- walked from then on. What is rare by what was asked (a task, a queue, meta, tags) is gathered from whole stretches of the history
-- (search_gather.sql), unless that gets on more slowly than the walk. In the order of finishing, ended runs are read by windows of time from a BRIN index, which grow or shrink with what is in them.

-- One page of runs: see above, and search_parts.sql for filter. after: the cursor of the page before. searched_to: the time (of sort) up to
-- which all was looked at. complete: there are no more.
CREATE OR REPLACE FUNCTION :schema.search_runs(
    namespace text, filter jsonb, sort text DEFAULT 'created', newest_first boolean DEFAULT true, after text DEFAULT NULL,
    most integer DEFAULT 50, budget integer DEFAULT 20000, patience double precision DEFAULT 0.06
) RETURNS TABLE (ids uuid[], cursor text, searched_to timestamptz, complete boolean, walked integer)
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_material = off SET enable_memoize = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    few      CONSTANT integer := 5000;
    first_id CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    last_id  CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    begun    CONSTANT timestamptz := clock_timestamp();
    statuses text[] := (SELECT array_agg(v) FROM jsonb_array_elements_text(filter -> 'status') v);
    ended    text[] := (SELECT array_agg(u.s) FROM unnest(statuses) u (s) WHERE u.s IN ('completed', 'failed', 'cancelled', 'expired'));
    live     text[] := (SELECT array_agg(v.letter) FROM unnest(statuses) u (s) JOIN (VALUES ('scheduled', 's'), ('queued', 'q'), ('queued', 'c'),
                        ('blocked', 'b'), ('running', 'r'), ('retrying', 't')) v (word, letter) ON v.word = u.s);
    workers  uuid[] := :schema.search_workers(namespace, filter ->> 'worker');
    way      text := CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END;
    at_id    uuid := CASE WHEN newest_first THEN last_id ELSE first_id END;
    at_time  timestamptz := CASE WHEN newest_first THEN 'infinity' ELSE '-infinity' END;
    n        integer := LEAST(GREATEST(most * 2, 200), 2000);
    walk     record;
    bottom   timestamptz;
    top      timestamptz;
    edge     timestamptz;
    width    interval := '1 second';
    candidates text;
    small    uuid[];
    is_set   boolean := false;
    checks   text;
    bounds   text := concat_ws(' AND ',
        CASE WHEN filter ? 'schedule' THEN format('(SELECT true FROM schedule_ticks t WHERE t.namespace = %L AND t.schedule = %L'
            ' AND t.run_id = w.id LIMIT 1)', namespace, filter ->> 'schedule') END,
        :schema.search_said('w.id >= %L', :schema.id_floor((filter ->> 'created_from')::timestamptz)::text),
        :schema.search_said('w.id < %L', :schema.id_floor((filter ->> 'created_before')::timestamptz)::text));
    found_ids uuid[];
    found_ats timestamptz[];
    read     integer;
    end_id   uuid;
    end_at   timestamptz;
    ats      timestamptz[] := '{}';
    step     timestamptz;
    took     double precision;
    rare     text := :schema.search_rare(namespace, filter);
    stretch  record;
    gathers  boolean := false;
    from_id  uuid;
    -- The first and the last run that there may be, so that no time in which nothing was asked for counts as searched.
    low_id   uuid := COALESCE((SELECT r.id FROM :schema.run_requests r WHERE r.id >= COALESCE(:schema.id_floor((filter ->> 'created_from')::timestamptz), first_id)
                               ORDER BY r.id LIMIT 1), last_id);
    high_id  uuid := :schema.id_floor(:schema.id_time((SELECT r.id FROM :schema.run_requests r
        WHERE r.id < COALESCE(:schema.id_floor(LEAST((filter ->> 'created_before')::timestamptz, (filter ->> 'started_before')::timestamptz,
                                                     (filter ->> 'finished_before')::timestamptz)), last_id) ORDER BY r.id DESC LIMIT 1)) + interval '1 millisecond');
    speed    double precision;
    plain    text;
BEGIN
    PERFORM set_config('search_path', quote_ident(:'schema') || ', pg_temp', true);
    ids := '{}';
    walked := 0;
    complete := false;
    IF filter ?| ARRAY['error_type', 'error_text'] AND statuses IS NULL THEN
        ended := ARRAY['failed', 'cancelled', 'expired'];
    END IF;
    IF after IS NOT NULL AND sort = 'created' THEN
        at_id := after::uuid;
    ELSIF after IS NOT NULL THEN
        at_id := split_part(after, '~', 2)::uuid;
        at_time := 'epoch'::timestamptz + split_part(after, '~', 1)::bigint * interval '1 microsecond';
    END IF;
    IF high_id <= low_id OR high_id IS NULL THEN
        complete := true;
        RETURN NEXT;
        RETURN;
    END IF;
    from_id := CASE WHEN newest_first THEN LEAST(at_id, high_id) ELSE GREATEST(at_id, low_id) END;
    walk := :schema.search_branches(namespace, filter, sort, newest_first, ended, live, workers);
    candidates := :schema.search_set(namespace, filter, ended, live, workers);
    IF walk.windowed THEN
        PERFORM set_config('enable_bitmapscan', 'on', true);
        bottom := GREATEST((filter ->> 'finished_from')::timestamptz, (filter ->> 'started_from')::timestamptz, (filter ->> 'created_from')::timestamptz, :schema.id_time(low_id));
        top := LEAST((filter ->> 'finished_before')::timestamptz, clock_timestamp() + interval '1 second');
        edge := CASE WHEN after IS NOT NULL THEN at_time WHEN newest_first THEN top ELSE bottom END;
        n := 1000;
    END IF;
    LOOP
        step := clock_timestamp();
        IF gathers THEN
            from_id := at_id;
            stretch := :schema.search_gather(rare, at_id, CASE WHEN newest_first THEN low_id ELSE high_id END, newest_first, width, GREATEST(most * 2, 200), 2000, patience / 2);
            small := stretch.found_ids;
            width := stretch.width;
        END IF;
        checks := concat_ws(' AND ', :schema.search_states(filter, CASE WHEN filter ? 'worker' THEN workers END, is_set OR NOT walk.knows_status));
        EXECUTE format($q$
            WITH walked AS MATERIALIZED (SELECT w.id, w.at, w.ok FROM (%1$s) w ORDER BY w.at %2$s, w.id %2$s LIMIT $3),
            found AS MATERIALIZED (SELECT w.id, w.at FROM walked w %3$s WHERE %4$s)
            SELECT (SELECT array_agg(m.id ORDER BY m.at %2$s, m.id %2$s) FROM found m) AS ids,
                (SELECT array_agg(m.at ORDER BY m.at %2$s, m.id %2$s) FROM found m) AS ats, (SELECT count(*) FROM walked)::integer AS read, l.id, l.at
            FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT w.id, w.at FROM walked w ORDER BY w.at %5$s, w.id %5$s LIMIT 1) l ON true$q$,
            walk.sources, way, :schema.search_joins(namespace, filter, is_set OR NOT walk.knows_request, checks <> ''),
            concat_ws(' AND ', 'w.ok', NULLIF(bounds, ''), NULLIF(checks, '')), CASE WHEN newest_first THEN 'ASC' ELSE 'DESC' END)
        INTO found_ids, found_ats, read, end_id, end_at
        USING at_id, at_time, CASE WHEN gathers THEN NULL WHEN NOT walk.windowed THEN n WHEN width > '1 millisecond' THEN n + 1 END, small,
            CASE WHEN newest_first THEN edge - width ELSE edge END, CASE WHEN newest_first THEN edge ELSE edge + width END;
        took := extract(epoch FROM clock_timestamp() - step);
        walked := walked + read;
        IF walk.windowed AND read > n AND width > '1 millisecond' THEN  -- too much at once
            width := width / 4;
            CONTINUE;
        END IF;
        ids := ids || COALESCE(found_ids, '{}');
        ats := ats || COALESCE(found_ats, '{}');
        IF walk.windowed THEN  -- all of the window was seen, its edge with it
            edge := CASE WHEN newest_first THEN edge - width ELSE edge + width END;
            at_time := edge;
            at_id := CASE WHEN newest_first THEN first_id ELSE last_id END;
            width := width * CASE WHEN read = 0 THEN 64 WHEN read < n / 8 THEN LEAST(n / 2 / read, 64) ELSE 1 END;
            complete := COALESCE(CASE WHEN newest_first THEN edge < bottom ELSE edge > top END, true);
        ELSIF gathers THEN
            at_id := stretch.place;
            complete := stretch.ended;
            IF NOT complete AND :schema.search_speed(from_id, at_id, took) < speed THEN  -- the walk gets on better
                gathers := false;
                is_set := false;
                walk.sources := plain;
                n := 1000;
            END IF;
        ELSE
            at_id := COALESCE(end_id, at_id);
            at_time := COALESCE(end_at, at_time);
            complete := read < n;
        END IF;
        EXIT WHEN complete OR cardinality(ids) >= most;
        n := CASE WHEN took > 2 * patience THEN GREATEST(n / 2, 500) WHEN took > patience / 2 THEN n ELSE LEAST(n * 4, few) END;
        IF rare IS NOT NULL AND plain IS NULL AND walked >= 1000 AND cardinality(ids) * 200 < walked THEN
            plain := walk.sources;
            IF :schema.search_often(namespace, filter, low_id, high_id) THEN
                gathers := false;
            ELSIF sort = 'created' THEN
                speed := :schema.search_speed(from_id, at_id, extract(epoch FROM clock_timestamp() - begun));
                width := GREATEST(:schema.id_time(from_id) - :schema.id_time(at_id), :schema.id_time(at_id) - :schema.id_time(from_id), '1 millisecond') * 16;
                gathers := true;
            ELSE
                stretch := :schema.search_gather(rare, high_id, low_id, true, '1 day', few + 1, few + 1, patience / 2);
                small := stretch.found_ids;
                is_set := stretch.ended AND cardinality(small) <= few;
            END IF;
            IF gathers OR is_set THEN
                is_set := true;
                walk.windowed := false;
                walk.sources := :schema.search_small(sort, newest_first);
                CONTINUE;
            END IF;
        END IF;
        IF candidates IS NOT NULL AND walked >= 1000 AND cardinality(ids) * 200 < walked THEN
            PERFORM set_config('enable_bitmapscan', 'on', true);
            EXECUTE format('SELECT array_agg(DISTINCT s.id) FROM (SELECT s.id FROM (%s) s (id) LIMIT %s) s', candidates, few + 1) INTO small;
            PERFORM set_config('enable_bitmapscan', CASE WHEN walk.windowed THEN 'on' ELSE 'off' END, true);
            is_set := COALESCE(cardinality(small), 0) <= few;
            candidates := NULL;
            IF is_set THEN
                walk.windowed := false;
                walk.sources := :schema.search_small(sort, newest_first);
                CONTINUE;
            END IF;
        END IF;
        EXIT WHEN walked >= budget OR extract(epoch FROM clock_timestamp() - begun) > patience;
    END LOOP;
    complete := complete AND cardinality(ids) <= most;
    IF cardinality(ids) >= most THEN
        ids := ids[:most];
        at_id := ids[most];
        at_time := ats[most];
    END IF;
    IF NOT complete THEN
        cursor := CASE WHEN sort = 'created' THEN at_id::text ELSE (extract(epoch FROM at_time) * 1000000)::bigint || '~' || at_id END;
        searched_to := CASE WHEN sort = 'created' THEN :schema.id_time(at_id) ELSE at_time END;
    END IF;
    RETURN NEXT;
END $$;
