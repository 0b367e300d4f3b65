-- When a lane was found empty; it goes later (engine/lanes.sql), and whoever needs it meanwhile notes it anew.
-- moment: expand

ALTER TABLE :schema.lanes ADD COLUMN retired timestamptz;
COMMENT ON TABLE :schema.lanes IS
    'Lanes (queue, priority) in use. returns changes when a job comes back with its old seq. retired: found empty then, to be removed.';
