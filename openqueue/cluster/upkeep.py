"""What every worker does now and then for all: partitions ahead of time, and what is no longer used goes."""

from __future__ import annotations

from openqueue.cluster.idempotency import ExpiredKeys
from openqueue.cluster.lanes import UnusedLanes
from openqueue.cluster.partitions import Partitions
from openqueue.db.pool import Database
from openqueue.events import Emit

__all__ = ["upkeep"]

Duty = Partitions | UnusedLanes | ExpiredKeys


def upkeep(database: Database, emit: Emit) -> tuple[Duty, ...]:
    """The duties, each to be run until it is cancelled."""
    return Partitions(database, emit), UnusedLanes(database, emit), ExpiredKeys(database, emit)
