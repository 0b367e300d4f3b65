-- Control, pauses: what runs goes on, nothing new begins, until a time or until it is resumed. Said by set_control (controls.sql), in the
-- words of who pauses.

-- Pause until a time ('infinity': until it is resumed), or resume (NULL). What is wrong is named as the functions below name it.
CREATE OR REPLACE FUNCTION :schema.set_pause(kind text, name text, queue text, until timestamptz, reason text, namespace text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    fault text[] := :schema.find_control_fault(kind, name, '{}', queue);
BEGIN
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse(CASE WHEN fault[1] = 'queue' OR kind = 'queue' THEN 'queue_name' WHEN kind = 'group' THEN 'group_key' ELSE kind END,
                               fault[2], fault[3], kind);
    ELSIF until <= statement_timestamp() THEN
        PERFORM :schema.refuse('until', format('is %s, which has passed', until), 'give a time to come, or leave it out', concat_ws(' ', kind, name));
    ELSIF until <> 'infinity' AND until > '9998-12-31 00:00+00' THEN
        PERFORM :schema.refuse('until', format('is %s', until), 'give a time before the year 9999, or leave it out', concat_ws(' ', kind, name));
    END IF;
    PERFORM :schema.set_control(kind, name, jsonb_build_object('paused_until', until, 'reason', reason), queue, namespace);
END $$;

-- Pause: what runs goes on, nothing new begins, until a time or until it is resumed.
CREATE OR REPLACE FUNCTION :schema.pause_queue(queue_name text, until timestamptz DEFAULT NULL, reason text DEFAULT NULL, namespace text DEFAULT 'default')
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('queue', $1, '', COALESCE($2, 'infinity'), $3, $4)
$$;
COMMENT ON FUNCTION :schema.pause_queue(text, timestamptz, text, text) IS
    'Start nothing more from a queue, until a time or until it is resumed. Example: SELECT pause_queue(''mail'', now() + interval ''1 hour'')';

-- End the pause of a queue.
CREATE OR REPLACE FUNCTION :schema.resume_queue(queue_name text, namespace text DEFAULT 'default') RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('queue', $1, '', NULL, NULL, $2)
$$;
COMMENT ON FUNCTION :schema.resume_queue(text, text) IS 'End the pause of a queue. Example: SELECT resume_queue(''mail'')';

-- Start nothing more of a task, until a time or until it is resumed.
CREATE OR REPLACE FUNCTION :schema.pause_task(task text, until timestamptz DEFAULT NULL, reason text DEFAULT NULL, namespace text DEFAULT 'default')
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('task', $1, '', COALESCE($2, 'infinity'), $3, $4)
$$;
COMMENT ON FUNCTION :schema.pause_task(text, timestamptz, text, text) IS
    'Start no more runs of a task, until a time or until it is resumed. Example: SELECT pause_task(''mail.send'', reason => ''provider is down'')';

-- End the pause of a task.
CREATE OR REPLACE FUNCTION :schema.resume_task(task text, namespace text DEFAULT 'default') RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('task', $1, '', NULL, NULL, $2)
$$;
COMMENT ON FUNCTION :schema.resume_task(text, text) IS 'End the pause of a task. Example: SELECT resume_task(''mail.send'')';

-- Start nothing more of a group, until a time or until it is resumed.
CREATE OR REPLACE FUNCTION :schema.pause_group(queue_name text, group_key text, until timestamptz DEFAULT NULL, reason text DEFAULT NULL, namespace text DEFAULT 'default')
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('group', $2, $1, COALESCE($3, 'infinity'), $4, $5)
$$;
COMMENT ON FUNCTION :schema.pause_group(text, text, timestamptz, text, text) IS
    'Start no more jobs of a group of a queue. Example: SELECT pause_group(''mail'', ''customer 42'')';

-- End the pause of a group.
CREATE OR REPLACE FUNCTION :schema.resume_group(queue_name text, group_key text, namespace text DEFAULT 'default') RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('group', $2, $1, NULL, NULL, $3)
$$;
COMMENT ON FUNCTION :schema.resume_group(text, text, text) IS 'End the pause of a group. Example: SELECT resume_group(''mail'', ''customer 42'')';

-- Start nothing more of a namespace, until a time or until it is resumed.
CREATE OR REPLACE FUNCTION :schema.pause_all(until timestamptz DEFAULT NULL, reason text DEFAULT NULL, namespace text DEFAULT 'default')
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('all', '', '', COALESCE($1, 'infinity'), $2, $3)
$$;
COMMENT ON FUNCTION :schema.pause_all(timestamptz, text, text) IS 'Start nothing more in a namespace. Example: SELECT pause_all(now() + interval ''10 minutes'')';

-- End the pause of a namespace.
CREATE OR REPLACE FUNCTION :schema.resume_all(namespace text DEFAULT 'default') RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT :schema.set_pause('all', '', '', NULL, NULL, $1)
$$;
COMMENT ON FUNCTION :schema.resume_all(text) IS 'End the pause of a namespace; queues, tasks and groups that are paused themselves stay so. Example: SELECT resume_all()';
