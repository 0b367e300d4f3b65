-- How runs are found, the parts: the texts of which search_runs (search.sql) puts its statements together. filter is an object with
-- any of task, queue, status, schedule, worker, key, meta, tags, created_from, created_before, started_from, started_before,
-- finished_from, finished_before, error_type, error_text; what is given must hold all together. Values stand in the texts quoted
-- (%L); tables without schema, as search_runs sets its own search_path.

-- A condition with its value; null without one.
CREATE OR REPLACE FUNCTION :schema.search_said(condition text, value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$ SELECT format($1, $2) $$;

-- The words of a list in a filter, as an array in PostgreSQL's spelling; null without one.
CREATE OR REPLACE FUNCTION :schema.search_words(filter jsonb, name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(v)::text FROM jsonb_array_elements_text($1 -> $2) v
$$;

-- What must hold of the request, r.
CREATE OR REPLACE FUNCTION :schema.search_requests(namespace text, filter jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(' AND ', format('r.namespace = %L', $1),
        :schema.search_said('r.task = ANY (%L)', :schema.search_words($2, 'task')),
        -- One that was moved after its first attempt has its queue in jobs alone.
        :schema.search_said('COALESCE((SELECT q.queue FROM jobs q WHERE q.id = r.id), r.queue) = ANY (%L)', :schema.search_words($2, 'queue')),
        :schema.search_said('r.meta @> %L::jsonb', ($2 -> 'meta')::text),
        :schema.search_said('r.tags && %L::text[]', :schema.search_words($2, 'tags')),
        :schema.search_said('r.key = %L', $2 ->> 'key'))
$$;

-- What must hold of its job, j, and of its last attempt, f; null: nothing. with_status: its status, too, which some walks know.
CREATE OR REPLACE FUNCTION :schema.search_states(filter jsonb, workers uuid[], with_status boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NULLIF(concat_ws(' AND ',
        :schema.search_said($q$CASE j.state WHEN 's' THEN 'scheduled' WHEN 't' THEN 'retrying' WHEN 'r' THEN 'running' WHEN 'q' THEN 'queued'
            WHEN 'c' THEN 'queued' WHEN 'b' THEN 'blocked' ELSE COALESCE(f.outcome, 'broken') END = ANY (%L)$q$, CASE WHEN $3 THEN :schema.search_words($1, 'status') END),
        :schema.search_said('CASE WHEN j.id IS NULL THEN f.worker ELSE j.worker END = ANY (%L)', $2::text),
        :schema.search_said('s.started_at >= %L', $1 ->> 'started_from'), :schema.search_said('s.started_at < %L', $1 ->> 'started_before'),
        :schema.search_said('f.finished_at >= %L', $1 ->> 'finished_from'), :schema.search_said('f.finished_at < %L', $1 ->> 'finished_before'),
        :schema.search_said('f.error ->> ''type'' = %L', $1 ->> 'error_type'),
        :schema.search_said('strpos(lower(concat_ws(E''\n'', f.error ->> ''type'', f.error ->> ''message'', f.error ->> ''traceback'')), %L) > 0',
                            lower($1 ->> 'error_text'))), '')
$$;

-- Where to walk, in order: branches, each with its rows as (id, at, ok) and no more of them than $3, behind the place ($1 id, $2 at).
-- What bounds a branch is in its index; whatever else must hold of a row is in ok, so that a step reads no more than it says.
-- knows_status, knows_request: of rows that are ok these need not be looked at. windowed: it reads from $5 to $6, by the BRIN index.
CREATE OR REPLACE FUNCTION :schema.search_branches(
    namespace text, filter jsonb, sort text, newest_first boolean, ended text[], live text[], workers uuid[],
    OUT sources text, OUT knows_status boolean, OUT knows_request boolean, OUT windowed boolean
) LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    way    text := CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END;
    beyond text := CASE WHEN newest_first THEN '<' ELSE '>' END;
    low    uuid := COALESCE(:schema.id_floor((filter ->> 'created_from')::timestamptz), '00000000-0000-0000-0000-000000000000');
    -- Nothing starts or ends before it was asked for.
    high   uuid := COALESCE(:schema.id_floor(LEAST((filter ->> 'created_before')::timestamptz, (filter ->> 'started_before')::timestamptz,
                                                   (filter ->> 'finished_before')::timestamptz)), 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    walk   text := '(SELECT %1$s AS id, NULL::timestamptz AS at, %2$s AS ok FROM %3$s AND %1$s >= '
                   || quote_literal(low) || ' AND %1$s < ' || quote_literal(high) || ' AND %1$s ' || beyond || ' $1 ORDER BY %1$s ' || way || ' LIMIT $3)';
    times  text := format('a.finished_at >= %L AND a.finished_at < %L AND (a.finished_at, a.run_id) %s ($2, $1)',
                          COALESCE(filter ->> 'finished_from', '-infinity'), COALESCE(filter ->> 'finished_before', 'infinity'), beyond);
    unhappy text := 'attempts a WHERE a.final AND a.outcome <> ''completed''';
    unfinished text := concat_ws(' AND ', format('j.namespace = %L AND j.state::text = ANY (%L)', namespace, live),
        :schema.search_said('j.task = ANY (%L)', :schema.search_words(filter, 'task')),
        :schema.search_said('j.queue = ANY (%L)', :schema.search_words(filter, 'queue')));
    by_worker text := (SELECT string_agg(format('a.worker = %L', w), ' OR ') FROM unnest(workers) w);
BEGIN
    knows_status := sort = 'finished';
    knows_request := false;
    windowed := false;
    IF sort = 'finished' AND ended IS NOT NULL AND 'completed' <> ALL (ended) THEN
        sources := (SELECT string_agg(format('(SELECT a.run_id AS id, a.finished_at AS at, true AS ok FROM %s AND a.outcome = %L AND %s'
            ' ORDER BY a.finished_at %s, a.run_id %s LIMIT $3)', unhappy, o, times, way, way), ' UNION ALL ') FROM unnest(ended) o);
    ELSIF sort = 'finished' THEN
        windowed := true;
        sources := format('(SELECT a.run_id AS id, a.finished_at AS at, %s AS ok FROM attempts a WHERE a.final AND a.finished_at >= $5'
            ' AND a.finished_at <= $6 AND %s %s LIMIT $3)', COALESCE(:schema.search_said('a.outcome = ANY (%L)', ended::text), 'true'), times,
            CASE WHEN filter ? 'worker' THEN 'AND (' || COALESCE(by_worker, 'false') || ')' END);
    ELSIF filter ? 'key' THEN
        sources := format(walk, 'k.id', 'true', format('run_requests k WHERE k.key = %L', filter ->> 'key'));
    ELSIF filter ? 'schedule' THEN
        sources := format(walk, 't.run_id', 'true', format('schedule_ticks t WHERE t.namespace = %L AND t.schedule = %L',
                                                           namespace, filter ->> 'schedule'));
    ELSIF filter ? 'error_type' THEN
        sources := format(walk, 'a.run_id', 'true', unhappy || format(' AND a.error ->> ''type'' = %L', filter ->> 'error_type'));
    ELSIF live IS NULL AND 'completed' = ANY (ended) THEN
        knows_status := true;
        sources := format(walk, 'a.run_id', format('a.final AND a.outcome = ANY (%L)', ended), 'attempts a WHERE true');
    ELSIF (ended IS NULL AND live IS NULL) OR 'completed' = ANY (ended) THEN
        knows_request := true;
        sources := format(walk, 'r.id', :schema.search_requests(namespace, filter), 'run_requests r WHERE true');
    ELSE
        knows_status := true;
        sources := concat_ws(' UNION ALL ',
            (SELECT string_agg(format(walk, 'a.run_id', 'true', unhappy || format(' AND a.outcome = %L', o)), ' UNION ALL ') FROM unnest(ended) o),
            CASE WHEN live IS NOT NULL THEN format(walk, 'j.id', unfinished, 'jobs j WHERE true') END);
    END IF;
END $$;

-- What must hold of the request of runs that may be rare by it, and that an index can find then; null: nothing. A queue cannot: a run that
-- was moved has it in jobs alone.
CREATE OR REPLACE FUNCTION :schema.search_rare(namespace text, filter jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $2 ?| ARRAY['task', 'meta', 'tags'] AND NOT $2 ?| ARRAY['key', 'schedule', 'error_type', 'worker'] THEN :schema.search_requests($1, $2) END
$$;

-- Whether meta and tags are frequent somewhere: in more than one in 300 of what lies at eight places between two ids. All that their
-- indexes have of a month is read before the first is looked at, so what is frequent is better walked to.
CREATE OR REPLACE FUNCTION :schema.search_often(namespace text, filter jsonb, low uuid, high uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    first  timestamptz := :schema.id_time(low);
    apart  interval := (:schema.id_time(high) - first) / 8;
    found_some boolean;
BEGIN
    IF NOT filter ?| ARRAY['meta', 'tags'] THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) FILTER (WHERE %s) * 300 > count(*) FROM unnest($1) p (id)'
        ' CROSS JOIN LATERAL (SELECT r.* FROM %I.run_requests r WHERE r.id >= p.id ORDER BY r.id LIMIT 250) r',
        concat_ws(' AND ', :schema.search_said('r.meta @> %L::jsonb', (filter -> 'meta')::text),
                           :schema.search_said('r.tags && %L::text[]', :schema.search_words(filter, 'tags'))), :'schema')
    INTO found_some USING ARRAY(SELECT :schema.id_floor(first + n * apart) FROM generate_series(0, 7) n);
    RETURN found_some;
END $$;

-- How fast a search gets on: seconds of the history in a second.
CREATE OR REPLACE FUNCTION :schema.search_speed(from_id uuid, to_id uuid, seconds double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT abs(extract(epoch FROM :schema.id_time($1) - :schema.id_time($2)))::double precision / GREATEST($3, 0.0001)
$$;

-- A set in which all that is looked for must be, if it turns out to be small (5,000); null: there is none. It needs no order.
CREATE OR REPLACE FUNCTION :schema.search_set(namespace text, filter jsonb, ended text[], live text[], workers uuid[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held text := 'SELECT h.id FROM claims c CROSS JOIN LATERAL (SELECT j.id FROM jobs j WHERE j.namespace = c.namespace AND j.queue = c.queue'
        ' AND j.priority = c.priority AND j.seq BETWEEN c.first_seq AND c.last_seq AND j.worker = c.worker) h WHERE ';
BEGIN
    IF filter ? 'key' THEN
        RETURN format('SELECT k.id FROM run_requests k WHERE k.key = %L', filter ->> 'key');
    ELSIF filter ? 'schedule' THEN
        RETURN format('SELECT t.run_id FROM schedule_ticks t WHERE t.namespace = %L AND t.schedule = %L AND t.run_id IS NOT NULL',
                      namespace, filter ->> 'schedule');
    ELSIF filter ? 'error_type' THEN
        RETURN format('SELECT a.run_id FROM attempts a WHERE a.final AND a.outcome <> ''completed'' AND a.error ->> ''type'' = %L', filter ->> 'error_type');
    ELSIF filter ? 'worker' THEN
        RETURN format('SELECT a.run_id FROM attempts a WHERE a.final AND (%s) UNION ALL ',
                      COALESCE((SELECT string_agg(format('a.worker = %L', w), ' OR ') FROM unnest(workers) w), 'false'))
            || held || format('c.worker = ANY (%L)', workers);
    ELSIF live IS NOT NULL AND ended IS NULL THEN
        RETURN concat_ws(' UNION ALL ',
            CASE WHEN 'r' = ANY (live) THEN held || format('c.namespace = %L', namespace) END,
            CASE WHEN 'b' = ANY (live) THEN format('(SELECT j.id FROM jobs j WHERE j.namespace = %L AND j.gate IS NOT NULL LIMIT 5001)', namespace) END,
            CASE WHEN live && ARRAY['s', 't'] THEN format(
                '(SELECT j.id FROM jobs j WHERE j.namespace = %L AND j.seq IS NULL AND j.gate IS NULL LIMIT 5001)', namespace) END,
            CASE WHEN 'q' = ANY (live) THEN format('(SELECT j.id FROM jobs j WHERE j.namespace = %L AND j.seq IS NOT NULL LIMIT 5001)', namespace) END);
    END IF;
    RETURN NULL;
END $$;

-- The set once it is known ($4), as the only branch.
CREATE OR REPLACE FUNCTION :schema.search_small(sort text, newest_first boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $1 = 'created' THEN format(
        'SELECT u.id, NULL::timestamptz AS at, true AS ok FROM unnest($4) u (id) WHERE u.id %s $1 ORDER BY u.id %s LIMIT $3',
        CASE WHEN $2 THEN '<' ELSE '>' END, CASE WHEN $2 THEN 'DESC' ELSE 'ASC' END)
    ELSE format(
        'SELECT u.id, e.finished_at AS at, true AS ok FROM unnest($4) u (id) CROSS JOIN LATERAL (SELECT a.finished_at FROM attempts a'
        ' WHERE a.run_id = u.id AND a.final ORDER BY a.attempt DESC LIMIT 1) e WHERE (e.finished_at, u.id) %s ($2, $1) LIMIT 6000',
        CASE WHEN $2 THEN '<' ELSE '>' END)
    END
$$;

-- What is read of each row besides: its request, unless the walk has read it, and where it stands.
CREATE OR REPLACE FUNCTION :schema.search_joins(namespace text, filter jsonb, with_request boolean, with_state boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(' ',
        CASE WHEN $3 THEN format('CROSS JOIN LATERAL (SELECT r.id FROM run_requests r WHERE r.id = w.id AND %s OFFSET 0) r',
                                 :schema.search_requests($1, $2)) END,
        CASE WHEN $4 THEN 'LEFT JOIN LATERAL (SELECT j.id, j.state, j.worker, j.claimed_at FROM jobs j WHERE j.id = w.id OFFSET 0) j ON true'
            ' LEFT JOIN LATERAL (SELECT a.outcome, a.worker, a.started_at, a.finished_at, a.error FROM attempts a'
            ' WHERE a.run_id = w.id AND a.final AND j.id IS NULL ORDER BY a.attempt DESC LIMIT 1) f ON true CROSS JOIN LATERAL'
            ' (SELECT CASE WHEN j.id IS NULL THEN f.started_at WHEN j.state = ''r'' THEN j.claimed_at END AS started_at OFFSET 0) s' END)
$$;

-- The workers that are meant: one by its id, or those that live by their name; null: none are asked for.
CREATE OR REPLACE FUNCTION :schema.search_workers(namespace text, worker text) RETURNS uuid[]
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $2 ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' THEN ARRAY[$2::uuid]
        ELSE ARRAY(SELECT w.id FROM :schema.workers w WHERE w.namespace = $1 AND w.name = $2) END
$$;
