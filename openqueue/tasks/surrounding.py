"""What is done around every task that runs in this process, such as closing connections that are too old.

It is wrapped around a worker's own copies of the tasks. Calling a task directly stays calling its function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task

__all__ = ["Around", "Preparation", "preparations", "prepare_with", "set_around", "surrounded", "wrapped"]

Function = Callable[..., Any]
Around = Callable[[Function], Function]
"""Given a task's function, the one to call instead: of the same kind, and made with `functools.wraps`."""

Preparation = tuple[str, str, tuple[Any, ...]]
"""A call by names: a module, a function of it, and its arguments."""

_around: Around | None = None
_preparations: list[Preparation] = []


def set_around(around: Around | None) -> Around | None:
    """Wrap this around the tasks of workers opened from now on; returns what was wrapped before."""
    global _around
    before, _around = _around, around
    return before


def surrounded(registry: Registry) -> Registry:
    """The tasks as they are to be run: copies with what was set wrapped around, else the registry itself."""
    if _around is None:
        return registry
    return Registry(map(wrapped, registry))


def wrapped(task: Task[..., Any]) -> Task[..., Any]:
    """The task as it is to be run."""
    if _around is None:
        return task
    copied: Task[..., Any] = object.__new__(Task)
    vars(copied).update(vars(task))
    copied.function = _around(task.function)
    return copied


def prepare_with(module: str, function: str, *args: Any) -> None:
    """Call this first in every process that is made for tasks; a framework is set up so."""
    if (module, function, args) not in _preparations:
        _preparations.append((module, function, args))


def preparations() -> tuple[Preparation, ...]:
    """What is to be called there, in order."""
    return tuple(_preparations)
