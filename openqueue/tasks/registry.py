"""The tasks a worker knows, by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from openqueue.errors import InvalidTask, UnknownTask, did_you_mean
from openqueue.tasks.declared import declared
from openqueue.tasks.task import Task

__all__ = ["Registry"]


class Registry:
    """Tasks by name and by alias; a name belongs to one task only."""

    def __init__(self, tasks: Iterable[Task[..., Any]] = ()) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._aliases: dict[str, Task[..., Any]] = {}
        for task in tasks:
            self.add(task)

    @classmethod
    def collect(cls, modules: Iterable[str], also: Iterable[Task[..., Any]] = ()) -> Registry:
        """The tasks of imported modules, declared or imported there, and those of `also`.

        Raises InvalidTask when two of them share a name.
        """
        wanted = {id(task): task for task in also}
        for module in (sys.modules[name] for name in modules):
            inside = [value for value in vars(module).values() if isinstance(value, Task)]
            inside += [task for task in declared() if task.is_of(module)]
            wanted.update((id(task), task) for task in inside)
        return cls(sorted(wanted.values(), key=lambda task: (task.name, task.place)))

    def add(self, task: Task[..., Any]) -> None:
        """Take a task in; the same function of the same file may come twice (imported under two names).

        Raises InvalidTask, naming both files, when its name or an alias belongs to another task.
        """
        before = self._tasks.get(task.name)
        if before is not None and before.place == task.place:
            return
        for name in (task.name, *task.defaults.aliases):
            self._refuse_taken(name, task)
        self._tasks[task.name] = task
        self._aliases.update(dict.fromkeys(task.defaults.aliases, task))

    def get(self, name: str) -> Task[..., Any]:
        """The task of this name or alias. Raises UnknownTask with the nearest names."""
        task = self._tasks.get(name) or self._aliases.get(name)
        if task is None:
            hint = did_you_mean(name, self.every_name) or self._hint()
            raise UnknownTask(f"there is no task {name!r}.{hint}", task=name)
        return task

    @property
    def names(self) -> tuple[str, ...]:
        """The names, without aliases, in order."""
        return tuple(sorted(self._tasks))

    @property
    def every_name(self) -> tuple[str, ...]:
        """Names and aliases: all that this process can run, in order."""
        return tuple(sorted({*self._tasks, *self._aliases}))

    def __contains__(self, name: object) -> bool:
        return name in self._tasks or name in self._aliases

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter([self._tasks[name] for name in self.names])

    def __len__(self) -> int:
        return len(self._tasks)

    def _refuse_taken(self, name: str, task: Task[..., Any]) -> None:
        other = self._tasks.get(name) or self._aliases.get(name)
        if other is not None:
            raise InvalidTask(
                f"two tasks are called {name!r}: {other.place} and {task.place}."
                " Rename one, or give it a name of its own: @task(name=...)."
            )

    def _hint(self) -> str:
        return f" Known here: {', '.join(self.names[:10])}." if self._tasks else " No task is known here."
