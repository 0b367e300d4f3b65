"""Every task declared in this process, as `@task` notes it; discovery picks its own from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from openqueue.tasks.task import Task

__all__ = ["declare", "declared", "declaring"]

_numbers = count()
_every: WeakValueDictionary[int, Task[..., Any]] = WeakValueDictionary()
_listening: list[list[Task[..., Any]]] = []


def declare(task: Task[..., Any]) -> None:
    """Note a task. It is forgotten when nothing else holds it, as a local one is."""
    _every[next(_numbers)] = task
    for heard in _listening:
        heard.append(task)


def declared() -> list[Task[..., Any]]:
    """The tasks declared so far that still exist, in order."""
    return [task for _, task in sorted(_every.items())]


@contextmanager
def declaring() -> Iterator[list[Task[..., Any]]]:
    """The tasks declared within the block."""
    heard: list[Task[..., Any]] = []
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)
