"""How much a worker does at once, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Counts, bytes and seconds; the defaults are those of the settings.

    concurrency, threads   attempts at a time: async ones, and those in threads
    processes              and those in processes of their own
    grace                  what running attempts have to end at shutdown
    poll                   the latest that an idle worker looks for work
    heartbeat              between two beats
    lease                  how long a worker that lives may say nothing
    gone                   how long one may be without its liveness lock and without a beat
    last_flush             how long storing outcomes is tried at shutdown
    """

    concurrency: int = 100
    threads: int = 16
    processes: int = 4
    grace: float = 30.0
    poll: float = 2.0
    heartbeat: float = 5.0
    lease: float = 60.0
    gone: float = 3.0
    last_flush: float = 10.0
    largest_output: int = 1024 * 1024
