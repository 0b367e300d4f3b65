-- Row triggers that enqueue. One trigger function for all tables; what each trigger is to do is its argument, as JSON, so nothing is
-- stored beside the trigger itself: it goes with its table, into a dump, and with the schema. One statement on the table is one call
-- of add_batch (for each 10,000 rows), whatever the number of its rows.
--
-- It runs with the rights of who writes to the table, who must be allowed to enqueue: with the rights of the schema's owner the
-- condition, which is code of the table's owner, could do anything.
--
-- old and new of an update are paired by their places in the transition tables: PostgreSQL appends to both, row by row, also when a
-- row changes its key or its partition. The key would not do: one statement may pass it from row to row.

-- The query that makes the payloads of one event: rows of (jsonb[]), at most 10,000 each. from_tables: whether it reads the transition
-- tables; otherwise it reads nothing, to be checked.
CREATE OR REPLACE FUNCTION :schema.change_query(event text, relation regclass, spec jsonb, from_tables boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    source  text := CASE event WHEN 'delete' THEN 'old' ELSE 'new' END;
    -- With its schema always: a temporary table may be called as a type of pg_catalog is.
    kind constant text := (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                           WHERE c.oid = relation);
    nothing text := format('(SELECT (NULL::%s).*)', kind);
    -- A virtual generated column (PostgreSQL 18) is nowhere in a transition table: each is worked out.
    virtual constant boolean := EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attgenerated = 'v' AND NOT a.attisdropped);
    unfolded text := 'SELECT (%s.r).*';
    -- Always with .* behind it: a name alone is looked for among the columns first.
    rows    constant text := '(SELECT (t.*)::%s AS r, row_number() OVER () AS i FROM %s t)';
    fresh   text := format(rows, kind, CASE WHEN from_tables THEN 'new_rows' ELSE nothing END);
    stale   text := format(rows, kind, CASE WHEN from_tables THEN 'old_rows' ELSE nothing END);
    changed text[] := ARRAY(SELECT jsonb_array_elements_text(spec -> 'when_changed'));
    named   text;
    made    text;
    whole   text;
BEGIN
    IF virtual THEN
        SELECT format('SELECT %s FROM (SELECT (%%s.r).*) AS plain', string_agg(CASE a.attgenerated
                WHEN 'v' THEN replace(format('(%s) AS %I', pg_get_expr(d.adbin, d.adrelid), a.attname), '%', '%%')
                ELSE replace(format('plain.%I', a.attname), '%', '%%') END, ', ' ORDER BY a.attnum)) INTO unfolded
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped;
    END IF;
    SELECT string_agg(format('%I.%I', source, c), ', ') INTO named FROM jsonb_array_elements_text(spec -> 'columns') c;
    made := CASE spec ->> 'payload' WHEN 'row' THEN format('to_jsonb(%I.*)', source)
        WHEN 'change' THEN format('jsonb_build_object(''event'', %L, ''table'', %L, ''row'', to_jsonb(%I.*)%s)', event,
            (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation),
            source, CASE event WHEN 'update' THEN ', ''old'', to_jsonb(old.*)' ELSE '' END)
        ELSE format('(SELECT to_jsonb(c.*) FROM (SELECT %s) AS c)', named) END;
    whole := CASE event
        WHEN 'insert' THEN format('%s a CROSS JOIN LATERAL (%s) AS new CROSS JOIN %s AS old', fresh, format(unfolded, 'a'), nothing)
        WHEN 'delete' THEN format('%s a CROSS JOIN LATERAL (%s) AS old CROSS JOIN %s AS new', stale, format(unfolded, 'a'), nothing)
        ELSE format('%s a LEFT JOIN %s b ON b.i = a.i CROSS JOIN LATERAL (%s) AS new CROSS JOIN LATERAL (%s) AS old',
                    fresh, stale, format(unfolded, 'a'), format(unfolded, 'b')) END;
    RETURN format('SELECT array_agg(p.payload ORDER BY p.i) FROM (SELECT %s AS payload, row_number() OVER (ORDER BY a.i) AS i FROM %s WHERE %s%s) p GROUP BY (p.i - 1) / 10000 ORDER BY (p.i - 1) / 10000',
        made, whole,
        -- Compared as they are stored: any type can be, and what is equal but looks different is a change.
        CASE WHEN event = 'update' AND cardinality(changed) > 0
            THEN (SELECT format('ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record', string_agg(format('old.%I', c), ', '), string_agg(format('new.%I', c), ', '))
                  FROM unnest(changed) c) ELSE 'true' END,
        CASE WHEN spec ->> 'when_sql' IS NULL THEN '' ELSE format(E' AND (\n%s\n)', spec ->> 'when_sql') END);
END $$;

-- Enqueue for the rows that a statement has changed.
CREATE OR REPLACE FUNCTION :schema.enqueue_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spec     jsonb := TG_ARGV[0];
    query    text := :schema.change_query(lower(TG_OP), TG_RELID, spec, true);
    changes  refcursor;
    payloads jsonb[];
BEGIN
    BEGIN
        OPEN changes FOR EXECUTE query;
        FETCH changes INTO payloads;  -- all rows are looked at before the first comes
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception THEN
        RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = format('the trigger %s on %s, which enqueues %s, cannot: %s',
                spec ->> 'name', TG_RELID::regclass, spec ->> 'task', SQLERRM),
            HINT = format('%s: add_trigger again, or SELECT %s.drop_trigger(%L, %L)', CASE WHEN SQLSTATE LIKE '22%'
                THEN 'its condition or payload cannot be computed of one of the rows' ELSE 'something that it names has changed' END,
                quote_ident(:'schema'), TG_RELID::regclass, spec ->> 'name');
    END;
    WHILE payloads IS NOT NULL LOOP
        PERFORM FROM :schema.add_batch(
            tasks => ARRAY[spec ->> 'task'], inputs => payloads, namespace => spec ->> 'namespace',
            queues => ARRAY[spec ->> 'queue_name'], priorities => ARRAY[(spec ->> 'priority')::integer],
            max_attempts => ARRAY[(spec ->> 'max_attempts')::integer],
            caller => format('trigger %s on %s', spec ->> 'name', TG_RELID::regclass));
        FETCH changes INTO payloads;
    END LOOP;
    CLOSE changes;
    RETURN NULL;
END $$;

-- What the trigger for an event is called: readable, and never longer than a name may be.
CREATE OR REPLACE FUNCTION :schema.trigger_name(event text, name text) RETURNS name
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (CASE WHEN octet_length(o.own) <= 40 THEN format('openqueue_%s_%s', $1, o.own)
            ELSE format('openqueue_%s_%s_%s', $1, left(o.own, 7), left(md5(o.own), 8)) END)::name
    FROM (SELECT CASE :'schema' WHEN 'openqueue' THEN $2 ELSE :'schema' || '.' || $2 END AS own) o
$$;

-- The triggers that enqueue.
CREATE OR REPLACE VIEW :schema.triggers AS
SELECT s.spec ->> 'namespace' AS namespace, format('%I.%I', n.nspname, c.relname) AS table_name, s.spec ->> 'name' AS name,
    s.spec ->> 'task' AS task,
    array_agg(CASE WHEN t.tgtype & 4 > 0 THEN 'insert' WHEN t.tgtype & 8 > 0 THEN 'delete' ELSE 'update' END ORDER BY t.tgtype & 28) AS events,
    s.spec ->> 'payload' AS payload, ARRAY(SELECT jsonb_array_elements_text(s.spec -> 'columns')) AS columns,
    ARRAY(SELECT jsonb_array_elements_text(s.spec -> 'when_changed')) AS when_changed, s.spec ->> 'when_sql' AS when_sql,
    s.spec ->> 'queue_name' AS queue_name, (s.spec ->> 'priority')::integer AS priority,
    (s.spec ->> 'max_attempts')::integer AS max_attempts, bool_and(t.tgenabled <> 'D') AS enabled
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid AND p.proname = 'enqueue_changes'
JOIN pg_catalog.pg_namespace m ON m.oid = p.pronamespace AND m.nspname = :'schema'
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT convert_from(substr(t.tgargs, 1, length(t.tgargs) - 1), getdatabaseencoding()::name)::jsonb AS spec) s
GROUP BY s.spec, n.nspname, c.relname;
COMMENT ON VIEW :schema.triggers IS 'Triggers on your tables that enqueue jobs (add_trigger).';

-- What cannot be watched, and what does not say how: refused, the field named.
CREATE OR REPLACE FUNCTION :schema.check_trigger(table_name regclass, spec jsonb, events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place  constant text := 'add_trigger';
    kind   record;
    wrong  record;
    ignore record;
    event  text;
BEGIN
    SELECT c.relkind::text AS relkind, c.relispartition, n.nspname INTO kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = table_name;
    IF kind.relkind IS NULL OR kind.relkind NOT IN ('r', 'p') OR kind.nspname = :'schema' THEN
        PERFORM :schema.refuse_call('table_name', 'must be a table of yours', 'views, foreign tables and openqueue''s own cannot be watched', place);
    ELSIF kind.relispartition THEN
        PERFORM :schema.refuse_call('table_name', format('%s is a partition: statements on the whole table would pass it by', table_name),
                               'give the partitioned table', place);
    ELSIF COALESCE(cardinality(events), 0) = 0 OR NOT events <@ ARRAY['insert', 'update', 'delete'] THEN
        PERFORM :schema.refuse_call('events', format('is %s', COALESCE(events::text, 'null')),
                               'give some of insert, update, delete (TRUNCATE has no rows to tell of)', place);
    ELSIF spec ->> 'payload' NOT IN ('row', 'id', 'columns', 'change') THEN
        PERFORM :schema.refuse_call('payload', format('is %L', spec ->> 'payload'), 'give row, id, columns or change', place);
    ELSIF spec ->> 'payload' = 'id' AND spec -> 'columns' IS NULL THEN
        PERFORM :schema.refuse_call('payload', format('is id, and %s has no primary key', table_name), 'give payload => ''columns'', and columns', place);
    ELSIF (spec ->> 'payload' IN ('columns', 'id')) <> (COALESCE(jsonb_array_length(spec -> 'columns'), 0) > 0) THEN
        PERFORM :schema.refuse_call('columns', 'and payload => ''columns'' go together', 'give both or neither', place);
    ELSIF spec -> 'when_changed' IS NOT NULL AND NOT events @> ARRAY['update'] THEN
        PERFORM :schema.refuse_call('when_changed', 'is about updates, which events does not have', 'add update, or leave it out', place);
    ELSIF length(spec ->> 'name') NOT BETWEEN 1 AND 200 THEN
        PERFORM :schema.refuse_call('name', 'must have 1 to 200 characters', 'leave it out for the name of the task', place);
    END IF;
    SELECT f.field, c.name INTO wrong FROM (VALUES ('columns'), ('when_changed')) AS f (field)
    CROSS JOIN LATERAL jsonb_array_elements_text(spec -> f.field) AS c (name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = table_name AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped)
    LIMIT 1;
    IF FOUND THEN
        PERFORM :schema.refuse_call(wrong.field, format('has %L, which %s has not', wrong.name, table_name), 'give names of columns, unquoted', place);
    END IF;
    FOREACH event IN ARRAY events LOOP
        BEGIN  -- a cursor takes one query only
            FOR ignore IN EXECUTE :schema.change_query(event, table_name, spec, false) LOOP NULL; END LOOP;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception THEN
            PERFORM :schema.refuse_call('when_sql', format('is no condition for %s: %s', event, SQLERRM),
                'write an SQL expression on old and new, such as new.status = ''paid''; names outside pg_catalog with their schema', place);
        END;
    END LOOP;
END $$;

-- Enqueue a task for the rows of a table that are inserted, updated or deleted, in the transaction that does it. Replaces the trigger of
-- the same name on the table. Answers the name.
CREATE OR REPLACE FUNCTION :schema.add_trigger(
    table_name regclass, task text, events text[] DEFAULT '{insert}', payload text DEFAULT 'row', columns text[] DEFAULT NULL,
    when_changed text[] DEFAULT NULL, when_sql text DEFAULT NULL, queue_name text DEFAULT NULL, priority integer DEFAULT NULL,
    max_attempts integer DEFAULT NULL, name text DEFAULT NULL, namespace text DEFAULT 'default'
) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    own  text := COALESCE(name, task);
    spec jsonb;
    event text;
    called name;
BEGIN
    IF table_name IS NULL THEN
        PERFORM :schema.refuse_call('table_name', 'is null', 'give a table', 'add_trigger');
    ELSIF task IS NULL OR task = '' OR length(task) > 200 THEN
        PERFORM :schema.refuse_call('task', 'must be a name of 1 to 200 characters', 'a task is named module.function', 'add_trigger');
    END IF;
    events := COALESCE(events, '{insert}'); payload := COALESCE(payload, 'row'); namespace := COALESCE(namespace, 'default');
    IF namespace = '' OR length(namespace) > 200 THEN
        PERFORM :schema.refuse_call('namespace', 'must be a name of 1 to 200 characters', 'leave it out for the default one', 'add_trigger');
    END IF;
    PERFORM :schema.check_options('{}', queue_name, NULL, priority, max_attempts, NULL, NULL, NULL, 'add_trigger');
    IF payload = 'id' THEN
        IF columns IS NOT NULL THEN
            PERFORM :schema.refuse_call('columns', 'and payload => ''columns'' go together', 'give both or neither', 'add_trigger');
        END IF;
        columns := (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::smallint[], a.attnum)) FROM pg_index i
                    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = table_name AND i.indisprimary);
    END IF;
    spec := jsonb_strip_nulls(jsonb_build_object('v', 1, 'name', own, 'task', task, 'payload', payload, 'columns', columns,
        'when_changed', NULLIF(when_changed, '{}'), 'when_sql', when_sql, 'queue_name', queue_name, 'priority', priority,
        'max_attempts', max_attempts, 'namespace', namespace));
    PERFORM :schema.check_trigger(table_name, spec, events);
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete'] LOOP
        called := :schema.trigger_name(event, own);
        IF event = ANY (events) THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %I.enqueue_changes(%L)',
                called, event, table_name, CASE event WHEN 'insert' THEN 'NEW TABLE AS new_rows' WHEN 'delete' THEN 'OLD TABLE AS old_rows'
                    ELSE 'OLD TABLE AS old_rows NEW TABLE AS new_rows' END, :'schema', spec);
        ELSIF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = table_name AND t.tgname = called) THEN
            EXECUTE format('DROP TRIGGER %I ON %s', called, table_name);
        END IF;
    END LOOP;
    RETURN own;
END $$;
COMMENT ON FUNCTION :schema.add_trigger(regclass, text, text[], text, text[], text[], text, text, integer, integer, text, text) IS
    'Enqueue a task for rows that are inserted, updated or deleted; one call for each statement, with the rights of who makes it. payload: row | id (the primary key) | columns | change (event, table, row, old). when_changed: updates count if one of these columns changed. when_sql: a condition on old and new; it is code. Example: SELECT add_trigger(''orders'', ''orders.ship'', ''{insert,update}'', payload => ''id'', when_changed => ''{status}'', when_sql => ''new.status = $$paid$$'')';

-- Remove a trigger of add_trigger; false if there is none. name: the task's, unless it was given another.
CREATE OR REPLACE FUNCTION :schema.drop_trigger(table_name regclass, name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    t     record;
    found_any boolean := false;
BEGIN
    IF table_name IS NULL OR name IS NULL THEN
        PERFORM :schema.refuse_call(CASE WHEN name IS NULL THEN 'name' ELSE 'table_name' END, 'is null', 'see the view triggers', 'drop_trigger');
    END IF;
    FOR t IN SELECT g.tgname FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
             WHERE g.tgrelid = table_name AND p.proname = 'enqueue_changes' AND p.pronamespace = quote_ident(:'schema')::regnamespace
               AND g.tgname IN (:schema.trigger_name('insert', name), :schema.trigger_name('update', name), :schema.trigger_name('delete', name))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, table_name);
        found_any := true;
    END LOOP;
    RETURN found_any;
END $$;
COMMENT ON FUNCTION :schema.drop_trigger(regclass, text) IS
    'Remove a trigger of add_trigger; its name is the task''s, unless it was given another. False if there is none. Example: SELECT drop_trigger(''orders'', ''orders.ship'')';
