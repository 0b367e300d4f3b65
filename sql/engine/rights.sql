-- Who may do what. Three roles that nobody logs in as; `migrate --roles` makes them, you grant them to those who do:
--   enqueue  adds jobs, and reads the state and result of runs whose ids it knows; it reads no table with a run in it
--   worker   what the daemon does; history it may add to, not change
--   admin    the rest, but for what the owner alone does: to migrate
-- What enqueue may call runs with the rights of the schema's owner (SECURITY DEFINER), and so does what makes partitions and publishes
-- controls; all else runs with the rights of who calls it.

-- The name of a role: cluster-wide as roles are, so it has the schema's in it where that is not the usual one.
CREATE OR REPLACE FUNCTION :schema.role_name(role text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN :'schema' = 'openqueue' THEN 'openqueue_' || $1
        WHEN octet_length(:'schema') <= 40 THEN format('openqueue_%s_%s', :'schema', $1)
        ELSE format('openqueue_%s_%s_%s', left(:'schema', 7), left(md5(:'schema'), 8), $1) END
$$;

-- What a role may do with an object of the schema. kind: SCHEMA | TABLE | VIEW | SEQUENCE | ROUTINE.
CREATE OR REPLACE FUNCTION :schema.rights_of(role text, kind text, name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    enqueue constant text[] := '{add_job,add_jobs,add_batch,add_one,add_same,find_run,find_events,await_run,await_runs,task_names,task_inputs,change_query,new_id,id_time,id_floor}';
    -- Not the daemon's: what people decide about runs, queues and schedules, and your tables.
    people  constant text[] := '{act_on_runs,set_control,set_pause,pause_queue,resume_queue,pause_task,resume_task,pause_group,resume_group,pause_all,resume_all,retry_run,promote_run,edit_run,reschedule_jobs,permanently_fail_jobs,remove_job,add_schedule,update_schedule,remove_schedule,run_schedule_now,backfill_schedule,add_trigger,drop_trigger,prune}';
    owners  constant text[] := '{create_roles,grant_rights}';
    ledger  constant text[] := '{migrations,engine}';  -- everybody looks whether the schema fits
    history constant text[] := '{run_requests,attempts,run_log}';
BEGIN
    RETURN CASE
        WHEN kind = 'SCHEMA' THEN '{USAGE}'
        WHEN kind = 'ROUTINE' AND name = ANY (owners) THEN '{}'
        WHEN kind = 'TABLE' AND name = ANY (ledger) THEN '{SELECT}'
        WHEN role = 'enqueue' THEN CASE WHEN kind = 'ROUTINE' AND name = ANY (enqueue) THEN '{EXECUTE}' ELSE '{}' END
        WHEN kind = 'ROUTINE' THEN CASE WHEN role = 'worker' AND name = ANY (people) THEN '{}' ELSE '{EXECUTE}' END
        WHEN kind = 'SEQUENCE' THEN '{USAGE}'
        WHEN kind = 'VIEW' THEN CASE WHEN role = 'admin' AND name = 'runs' THEN '{SELECT,DELETE}' ELSE '{SELECT}' END
        WHEN role = 'worker' AND name IN ('controls', 'audit') THEN '{SELECT}'
        WHEN name = 'audit' OR role = 'worker' AND name = ANY (history) THEN '{SELECT,INSERT}'
        ELSE '{SELECT,INSERT,UPDATE,DELETE}'
    END;
END $$;

-- Make the roles that there are not; answers their names. May run anywhere at once.
CREATE OR REPLACE FUNCTION :schema.create_roles() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    called text;
BEGIN
    FOREACH called IN ARRAY ARRAY[:schema.role_name('enqueue'), :schema.role_name('worker'), :schema.role_name('admin')] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles r WHERE r.rolname = called);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', called);
            RETURN NEXT called;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- by somebody else, in this moment
        END;
    END LOOP;
END $$;

-- Bring the rights of those of the three roles that there are to what rights_of says, and take PUBLIC's on the functions; answers the
-- statements that did it. Partitions need none: they are read and written through their parents.
CREATE OR REPLACE FUNCTION :schema.grant_rights() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH roles AS (
            SELECT u.role, r.oid, r.rolname FROM unnest('{enqueue,worker,admin}'::text[]) AS u (role)
            JOIN pg_roles r ON r.rolname = :schema.role_name(u.role)
        ), objects AS (
            SELECT 'SCHEMA' AS kind, n.nspname::text AS name, quote_ident(n.nspname) AS said, n.nspacl AS acl
            FROM pg_namespace n WHERE n.nspname = :'schema'
            UNION ALL
            SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname,
                format('%I.%I', n.nspname, c.relname), c.relacl
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = :'schema' AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
            UNION ALL
            SELECT 'ROUTINE', p.proname, p.oid::regprocedure::text, p.proacl
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN :schema.engine e ON p.oid::regprocedure::text = ANY (e.functions)
            WHERE n.nspname = :'schema'
        ), wanted AS (
            SELECT o.kind, o.said, r.rolname, w.right FROM objects o CROSS JOIN roles r
            CROSS JOIN LATERAL unnest(:schema.rights_of(r.role, o.kind, o.name)) AS w ("right")
        ), granted AS (
            SELECT o.kind, o.said, r.rolname, a.privilege_type AS "right" FROM objects o CROSS JOIN LATERAL aclexplode(o.acl) a
            JOIN roles r ON r.oid = a.grantee
        )
        -- One statement for all that get the same: a statement for each of some hundred functions takes seconds.
        SELECT format('GRANT %s ON %s %s TO %I', d.rights, d.kind, string_agg(d.said, ', '), d.rolname)
        FROM (SELECT replace(d.kind, 'VIEW', 'TABLE') AS kind, d.said, d.rolname, string_agg(d.right, ', ' ORDER BY d.right) AS rights
              FROM (SELECT * FROM wanted EXCEPT SELECT * FROM granted) d GROUP BY 1, 2, 3) d GROUP BY d.kind, d.rolname, d.rights
        UNION ALL
        SELECT format('REVOKE %s ON %s %s FROM %I', d.rights, d.kind, string_agg(d.said, ', '), d.rolname)
        FROM (SELECT replace(d.kind, 'VIEW', 'TABLE') AS kind, d.said, d.rolname, string_agg(d.right, ', ' ORDER BY d.right) AS rights
              FROM (SELECT * FROM granted EXCEPT SELECT * FROM wanted) d GROUP BY 1, 2, 3) d GROUP BY d.kind, d.rolname, d.rights
        UNION ALL
        SELECT format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', string_agg(o.said, ', ')) FROM objects o
        WHERE o.kind = 'ROUTINE' AND (o.acl IS NULL OR EXISTS (SELECT FROM aclexplode(o.acl) a WHERE a.grantee = 0))
        HAVING count(*) > 0
        ORDER BY 1
    LOOP
        EXECUTE statement;
        RETURN NEXT statement;
    END LOOP;
END $$;
