"""Names in a filter that nobody knows: why it may be that nothing was found."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from openqueue.cli.output import say
from openqueue.errors import OpenQueueError, did_you_mean

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.filter import RunFilter

__all__ = ["tell_unknown"]


async def tell_unknown(opened: Client, chosen: RunFilter) -> None:
    """Say on standard error which task, queue, schedule or worker of a filter is known to nobody now.

    Such a filter is none the less right: history keeps what has gone.
    """
    with suppress(OpenQueueError):  # who may look for runs need not have a right to all of these
        async for sentence in _unknown(opened, chosen):
            say(sentence)


async def _unknown(opened: Client, chosen: RunFilter) -> AsyncIterator[str]:
    if chosen.task is not None:
        known = await _names(opened, "task", "known_tasks")
        if chosen.task not in known:
            yield f"No worker has published a task {chosen.task!r}.{did_you_mean(chosen.task, known)}"
    if chosen.queue is not None:
        known = await _names(opened, "queue", "catalog", "known_queues")
        if chosen.queue not in known:
            yield (
                f"No task that workers have published is of queue {chosen.queue!r}, and nothing waits in it."
                f"{did_you_mean(chosen.queue, known)}"
            )
    if chosen.error is not None and "." not in chosen.error and not hasattr(builtins, chosen.error):
        yield (
            "Types of errors have their module before them, as `openqueue runs list` shows them;"
            f" {chosen.error!r} has none."
        )
    if chosen.schedule is not None:
        known = await _names(opened, "key", "schedule_keys")
        if chosen.schedule not in known:
            yield f"There is no schedule {chosen.schedule!r}.{did_you_mean(chosen.schedule, known)}"
    if chosen.worker is not None and not _is_id(chosen.worker):
        known = await _names(opened, "name", "workers")
        if chosen.worker not in known:
            yield (
                f"No worker that is there is named {chosen.worker!r}.{did_you_mean(chosen.worker, known)}"
                " One that has gone is found by its id."
            )


async def _names(opened: Client, column: str, *statements: str) -> set[str]:
    return {row[column] for name in statements for row in await opened.database.fetch(name, opened.namespace)}


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
