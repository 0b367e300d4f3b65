-- Statistics: what workers tell of themselves (stats_deltas), and what is made of it by the minute, the hour and the day (stats).
-- moment: expand

CREATE TABLE :schema.stats_deltas (
    worker    uuid NOT NULL,
    n         bigint NOT NULL,
    at        timestamptz NOT NULL,
    completed integer NOT NULL,
    failed    integer NOT NULL,
    retried   integer NOT NULL,
    snoozed   integer NOT NULL,
    cancelled integer NOT NULL,
    released  integer NOT NULL,
    namespace text NOT NULL,
    queue     text NOT NULL,
    task      text NOT NULL,
    waited    integer[] NOT NULL,
    ran       integer[] NOT NULL,
    PRIMARY KEY (worker, n, queue, task)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE :schema.stats_deltas IS
    'One row a thing that a worker told, with its heartbeat: what has ended since the one before. n is the worker''s number: told twice, it counts once. Only inserted, so that nobody waits for another; who leads adds it up and removes it. waited, ran: histograms (engine/stats.sql).';

CREATE TABLE :schema.stats (
    namespace text NOT NULL,
    span      text NOT NULL CHECK (span IN ('minute', 'hour', 'day')),
    at        timestamptz NOT NULL,
    queue     text NOT NULL,
    task      text NOT NULL,
    completed bigint NOT NULL,
    failed    bigint NOT NULL,
    retried   bigint NOT NULL,
    snoozed   bigint NOT NULL,
    cancelled bigint NOT NULL,
    released  bigint NOT NULL,
    waited    bigint[] NOT NULL,
    ran       bigint[] NOT NULL,
    PRIMARY KEY (namespace, span, at, queue, task)
) WITH (fillfactor = 70);
COMMENT ON TABLE :schema.stats IS
    'How attempts ended, by queue and task, in each minute (two days), hour (60 days) and day (two years, UTC) that had any. waited: from due to start; ran: from start to end; histograms (engine/stats.sql).';

-- What a worker's process takes, told with its heartbeat: bytes of memory, and percent of a core since the one before.
ALTER TABLE :schema.workers ADD COLUMN rss bigint, ADD COLUMN cpu real;
