"""What is done around every task that runs in this process, such as closing connections that are too old.

It is wrapped around a worker's own copies of the tasks. Calling a task directly stays calling its function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task

__all__ = ["Around", "set_around", "surrounded"]

Function = Callable[..., Any]
Around = Callable[[Function], Function]
"""Given a task's function, the one to call instead: of the same kind, and made with `functools.wraps`."""

_around: Around | None = None


def set_around(around: Around | None) -> Around | None:
    """Wrap this around the tasks of workers opened from now on; returns what was wrapped before."""
    global _around
    before, _around = _around, around
    return before


def surrounded(registry: Registry) -> Registry:
    """The tasks as they are to be run: copies with what was set wrapped around, else the registry itself."""
    if _around is None:
        return registry
    return Registry(_wrapped(task, _around) for task in registry)


def _wrapped(task: Task[..., Any], around: Around) -> Task[..., Any]:
    copied: Task[..., Any] = object.__new__(Task)
    vars(copied).update(vars(task))
    copied.function = around(task.function)
    return copied
