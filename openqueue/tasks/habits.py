"""What options and calls are called in other queues, for whoever writes them here out of habit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["called_here", "enqueued_here"]

_CALLED: Final = {
    "autoretry_for": ("retry_on",),
    "countdown": ("delay",),
    "crontab": ("cron",),
    "dont_autoretry_for": ("give_up_on",),
    "eta": ("run_at",),
    "expires": ("deadline",),
    "job_id": ("key", "id"),
    "job_timeout": ("timeout",),
    "lock": ("concurrency_key",),
    "max_retries": ("max_attempts",),
    "queueing_lock": ("key",),
    "rate_limit": ("rate",),
    "retries": ("max_attempts",),
    "retry": ("max_attempts",),
    "retry_backoff": ("backoff",),
    "schedule": ("cron",),
    "schedule_at": ("run_at",),
    "schedule_in": ("delay",),
    "scheduled_at": ("run_at",),
    "soft_time_limit": ("timeout",),
    "time_limit": ("timeout",),
    "tz": ("timezone",),
}
"""Options of Celery, RQ, Procrastinate … and ours: the first that is known where it is asked."""

_GIVEN_ITSELF: Final = ("bind", "pass_context")
_ENQUEUING: Final = ("apply_async", "defer", "defer_async", "delay", "send", "submit")


def called_here(option: str, known: Collection[str]) -> str:
    """`` Here it is 'delay'.`` for an option of another queue; nothing if it is none."""
    if option in _GIVEN_ITSELF:
        return " A task that wants its run has a parameter `ctx: Context`."
    ours = next((one for one in _CALLED.get(option, ()) if one in known), None)
    return f" Here it is {ours!r}." if ours else ""


def enqueued_here(call: str) -> str:
    """How to enqueue, for a task's method of another queue; nothing if it is none."""
    return (
        " To enqueue a run: await task.enqueue(...), or task.enqueue_sync(...)." if call in _ENQUEUING else ""
    )
