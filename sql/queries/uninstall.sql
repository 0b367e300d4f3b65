-- What `openqueue migrate --uninstall` asks and does.

-- name: uninstall_workers
-- Workers that have beaten within the last minute.
SELECT name, host FROM :schema.workers WHERE beat_at > clock_timestamp() - interval '1 minute' ORDER BY name;

-- name: uninstall_strangers
-- What stands in the schema and is not openqueue's; $1: the tables, sequences and views that are, with their partitions.
SELECT format('%s %I', CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
    WHEN 'c' THEN 'type' ELSE 'table' END, c.relname) AS thing
FROM pg_catalog.pg_class c
WHERE c.relnamespace = quote_ident(:'schema')::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
  AND c.relname <> ALL ($1::text[]) AND c.relname !~ format('^(%s)_[0-9]{6}$', array_to_string($1::text[], '|'))
  AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend d  -- of an identity column, as which it goes
                                       WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'))
UNION ALL
SELECT format('function %s', p.oid::regprocedure) FROM pg_catalog.pg_proc p
WHERE p.pronamespace = quote_ident(:'schema')::regnamespace
  AND NOT EXISTS (SELECT FROM :schema.engine e WHERE p.oid::regprocedure = ANY (ARRAY(SELECT to_regprocedure(f) FROM unnest(e.functions) AS f)))
UNION ALL
SELECT format('type %I', t.typname) FROM pg_catalog.pg_type t
WHERE t.typnamespace = quote_ident(:'schema')::regnamespace AND t.typtype IN ('d', 'e', 'r')
ORDER BY 1;

-- name: uninstall_dependents
-- What stands elsewhere and goes with the schema: triggers of add_trigger, views, foreign keys.
SELECT format('trigger %s on %s', t.name, t.table_name) AS thing FROM :schema.triggers t
UNION
SELECT format('view %s', w.ev_class::regclass) FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_catalog.pg_class v ON v.oid = w.ev_class
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
WHERE c.relnamespace = quote_ident(:'schema')::regnamespace AND v.relnamespace <> c.relnamespace
UNION
SELECT format('foreign key %I of %s', k.conname, k.conrelid::regclass) FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.confrelid JOIN pg_catalog.pg_class o ON o.oid = k.conrelid
WHERE k.contype = 'f' AND c.relnamespace = quote_ident(:'schema')::regnamespace AND o.relnamespace <> c.relnamespace
ORDER BY 1;

-- name: uninstall_drop
DROP SCHEMA :schema CASCADE;

-- name: uninstall_public
-- PostgreSQL's own schema is left as a new database has it.
DO $$
BEGIN
    IF :'schema' = 'public' THEN
        CREATE SCHEMA public AUTHORIZATION pg_database_owner;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    END IF;
END $$;

-- name: uninstall_roles
-- The roles that there are, each with the statement that drops it.
SELECT r.rolname::text AS name, format('DROP ROLE %I', r.rolname) AS statement FROM pg_catalog.pg_roles r
WHERE r.rolname IN (:schema.role_name('enqueue'), :schema.role_name('worker'), :schema.role_name('admin')) ORDER BY 1;
