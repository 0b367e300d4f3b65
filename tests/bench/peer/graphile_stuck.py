"""graphile-worker: 2 x 100,000 jobs of two locked named queues in front."""

from adapters import graphile


class Adapter(graphile.Adapter):
    note = "2 x 100,000 jobs of two locked named queues in front; as the plain adapter else"
    configs = (24,)
    pending = "SELECT count(*) FROM graphile_worker._private_jobs WHERE job_queue_id IS NULL"
