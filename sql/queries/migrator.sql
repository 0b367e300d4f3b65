-- What `openqueue migrate` asks and does. Every statement must run before any migration has.

-- name: migrator_facts
-- What there is of the schema: whether it exists, the columns of its migrations and engine tables, whether
-- it has the function that makes partitions, and all its functions, views and triggers.
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = :'schema') AS has_schema,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = :'schema' AND c.relname = 'migrations' AND a.attnum > 0 AND NOT a.attisdropped
            ) AS migrations,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = :'schema' AND c.relname = 'engine' AND a.attnum > 0 AND NOT a.attisdropped
            ) AS engine,
       EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = :'schema' AND p.proname = 'ensure_partitions') AS has_partitions,
       ARRAY(SELECT 'function ' || p.proname FROM pg_catalog.pg_proc p
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = :'schema'
             UNION ALL
             SELECT 'view ' || c.relname FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :'schema' AND c.relkind = 'v'
             UNION ALL
             SELECT 'trigger ' || t.tgname FROM pg_catalog.pg_trigger t
             JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = :'schema' AND NOT t.tgisinternal) AS objects

-- name: migrator_applied
-- The migrations that were applied, in order.
SELECT number, name, checksum FROM :schema.migrations ORDER BY number

-- name: migrator_engine
-- The engine that is installed: one row, or none; gone are those of its functions that are no longer there.
SELECT checksum, version,
       ARRAY(SELECT f FROM unnest(functions) AS f WHERE to_regprocedure(f) IS NULL) AS gone
FROM :schema.engine

-- name: migrator_settings
-- For this transaction: no lock is waited for longer than $1, no statement is cut off, every name must be
-- qualified, and functions may be defined in any order (migrator_finish checks their bodies).
SELECT pg_catalog.set_config('lock_timeout', $1::text, true),
       pg_catalog.set_config('statement_timeout', '0', true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true),
       pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
       pg_catalog.set_config('check_function_bodies', 'off', true)

-- name: migrator_begin
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: migrator_commit
COMMIT

-- name: migrator_try_lock
-- Whether this transaction is now the one that migrates ($1: the schema's key). Never waits.
SELECT pg_catalog.pg_try_advisory_xact_lock($1::bigint)

-- name: migrator_try_hold
-- The same for the session, for what cannot run inside a transaction.
SELECT pg_catalog.pg_try_advisory_lock($1::bigint)

-- name: migrator_let_go
SELECT pg_catalog.pg_advisory_unlock($1::bigint)

-- name: migrator_create_schema
CREATE SCHEMA :schema

-- name: migrator_create_migrations
CREATE TABLE :schema.migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
)

-- name: migrator_create_engine
-- functions: those that the engine's files defined, so that no function of anybody else is ever dropped.
CREATE TABLE :schema.engine (
    "only"     boolean PRIMARY KEY DEFAULT true CHECK ("only"),
    checksum   text NOT NULL,
    version    text NOT NULL,
    functions  text[] NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
)

-- name: migrator_record
-- Migration number $1, file $2 with checksum $3, is applied.
INSERT INTO :schema.migrations (number, name, checksum) VALUES ($1::integer, $2::text, $3::text)

-- name: migrator_remember
-- Before the engine's files run: note which functions there are, each with the version of its row.
SELECT pg_catalog.set_config('openqueue.before', COALESCE(string_agg(p.oid || ':' || p.xmin, ','), ''), true),
       pg_catalog.set_config('openqueue.grants', '', true)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = :'schema'

-- name: migrator_clear
-- When a function cannot be replaced, because its result or its parameters changed: drop those of the engine
-- that nothing depends on, and note who had which rights, for migrator_finish.
DO $$
DECLARE
    f record;
BEGIN
    PERFORM set_config('openqueue.grants', COALESCE(jsonb_agg(jsonb_build_object(
                'name', p.proname, 'grantee', a.grantee::bigint, 'grantable', a.is_grantable))::text, ''), true)
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    CROSS JOIN :schema.engine e
    LEFT JOIN LATERAL aclexplode(p.proacl) a ON true
    WHERE n.nspname = :'schema' AND p.oid::regprocedure::text = ANY (e.functions) AND p.proacl IS NOT NULL;
    FOR f IN
        SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN :schema.engine e
        WHERE n.nspname = :'schema' AND p.oid::regprocedure::text = ANY (e.functions)
    LOOP
        BEGIN
            EXECUTE 'DROP ROUTINE ' || f.oid::regprocedure;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            NULL;  -- it is replaced where it is
        END;
    END LOOP;
END $$

-- name: migrator_finish
-- After the engine's files ran: check the body of every function they defined, give back the rights that
-- migrator_clear noted, and drop the functions that an earlier engine defined and this one does not (one that
-- something of somebody else depends on stays, and is tried again next time).
DO $$
DECLARE
    before text[] := string_to_array(current_setting('openqueue.before'), ',');
    grants jsonb := NULLIF(current_setting('openqueue.grants', true), '')::jsonb;
    f      record;
    g      record;
BEGIN
    PERFORM set_config('check_function_bodies', 'on', true);
    FOR f IN
        SELECT p.oid, p.proname, p.prokind, l.lanvalidator, p.oid || ':' || p.xmin <> ALL (before) AS defined,
               p.oid::regprocedure::text = ANY (COALESCE(e.functions, '{}')) AS ours
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_language l ON l.oid = p.prolang
        LEFT JOIN :schema.engine e ON true
        WHERE n.nspname = :'schema'
    LOOP
        IF f.defined THEN
            BEGIN
                IF f.prokind <> 'a' THEN
                    EXECUTE format('SELECT %s(%s::oid)', f.lanvalidator::regproc, f.oid);
                END IF;
            EXCEPTION WHEN OTHERS THEN
                RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = format('%s: %s', f.oid::regprocedure, SQLERRM);
            END;
            IF EXISTS (SELECT FROM jsonb_array_elements(grants) e WHERE e ->> 'name' = f.proname) THEN
                EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f.oid::regprocedure);
                FOR g IN
                    SELECT CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS role,
                           CASE WHEN e.grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
                    FROM jsonb_to_recordset(grants) AS e (name text, grantee bigint, grantable boolean)
                    LEFT JOIN pg_roles r ON r.oid = e.grantee
                    WHERE e.name = f.proname AND (e.grantee = 0 OR r.rolname IS NOT NULL)
                LOOP
                    EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s%s', f.oid::regprocedure, g.role, g.option);
                END LOOP;
            END IF;
        ELSIF f.ours THEN
            BEGIN
                EXECUTE 'DROP ROUTINE ' || f.oid::regprocedure;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                NULL;
            END;
        END IF;
    END LOOP;
END $$

-- name: migrator_install
-- The engine with checksum $1, of openqueue's version $2, is installed; with it the functions that are its.
INSERT INTO :schema.engine AS old (checksum, version, functions)
SELECT $1::text, $2::text, ARRAY(
    SELECT p.oid::regprocedure::text
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN :schema.engine e ON true
    WHERE n.nspname = :'schema'
      AND (p.oid || ':' || p.xmin <> ALL (string_to_array(current_setting('openqueue.before', true), ','))
           OR p.oid::regprocedure::text = ANY (e.functions))
    ORDER BY 1)
ON CONFLICT ("only") DO UPDATE
SET checksum = excluded.checksum, version = excluded.version, functions = excluded.functions,
    applied_at = pg_catalog.now()

-- name: migrator_rights
-- Bring the rights of the roles that there are up to what the engine says, if it says anything and we are who may.
DO $$
BEGIN
    IF has_function_privilege(to_regprocedure(format('%I.grant_rights()', :'schema')), 'EXECUTE') THEN
        PERFORM :schema.grant_rights();
    END IF;
END $$

-- name: migrator_roles
-- Make the roles that there are not; one row for each that was made.
SELECT made::text AS name FROM :schema.create_roles() AS made

-- name: migrator_absent_roles
-- The statements that make the roles that there are not.
SELECT format('CREATE ROLE %I NOLOGIN;', :schema.role_name(u.role)) AS statement
FROM unnest('{enqueue,worker,admin}'::text[]) WITH ORDINALITY AS u (role, i)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = :schema.role_name(u.role)) ORDER BY u.i

-- name: migrator_partitions
-- Make the month partitions that will be needed soon; one row for each that was made.
SELECT made::text AS name FROM :schema.ensure_partitions() AS made

-- name: migrator_invalid_indexes
-- How to drop what a failed CREATE INDEX CONCURRENTLY left behind of the indexes $1, each of the table of the schema at the same place
-- in $2. building: somebody is at it right now.
SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', n.nspname, c.relname) AS text,
    EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
        WHERE p.datname = pg_catalog.current_database() AND p.index_relid = c.oid) AS building
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (index, "table", i)
JOIN pg_catalog.pg_namespace n ON n.nspname = :'schema'
JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relname = u."table"::name
JOIN pg_catalog.pg_index x ON x.indrelid = t.oid AND NOT x.indisvalid
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid AND c.relkind = 'i' AND c.relname = u.index::name
ORDER BY u.i

-- name: migrator_indexed_partitions
-- The partitions of the schema's tables, each once with index null, and once for each index of its table of which it has its part.
SELECT p.relname::text AS table, c.relname::text AS partition, x.relname::text AS index
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
LEFT JOIN LATERAL (
    SELECT x.relname FROM pg_catalog.pg_index d JOIN pg_catalog.pg_inherits h ON h.inhrelid = d.indexrelid
    JOIN pg_catalog.pg_class x ON x.oid = h.inhparent WHERE d.indrelid = c.oid
    UNION ALL SELECT NULL) x ON true
WHERE n.nspname = :'schema' ORDER BY 1, 2, 3

-- name: migrator_attach_index
-- The index of a partition becomes a part of that of its table ("the index" and "its part" are replaced).
ALTER INDEX :schema."the index" ATTACH PARTITION :schema."its part"

-- name: migrator_timeouts
SELECT pg_catalog.current_setting('lock_timeout') AS locks, pg_catalog.current_setting('statement_timeout') AS statements

-- name: migrator_set_timeouts
-- For the session: no lock is waited for longer than $1, no statement goes on for longer than $2.
SELECT pg_catalog.set_config('lock_timeout', $1::text, false), pg_catalog.set_config('statement_timeout', $2::text, false)
