-- The session that hears notifications.

-- name: listener_notify
-- Notify channel $1 with payload $2: how a listener tests its own session.
SELECT pg_catalog.pg_notify($1::text, $2::text)

-- name: listener_ping
-- A sign of life.
SELECT 1 AS alive

-- name: interpreted
-- For the rest of this transaction nothing is compiled.
SELECT pg_catalog.set_config('jit', 'off', true);

-- name: notify_queue_usage
-- How full the queue of notifications is, from 0 to 1. To ask makes room, where nobody needs the oldest of them any more.
SELECT pg_catalog.pg_notification_queue_usage();
