-- The concurrency key of a schedule's runs: who adds the schedule has its arguments, and works the key out of them.
-- moment: expand

ALTER TABLE :schema.schedules ADD COLUMN concurrency_key text;
COMMENT ON COLUMN :schema.schedules.concurrency_key IS
    'Of its runs, as it was said or worked out when the schedule was added. Null: as the catalogue says of the task; empty: none.';
