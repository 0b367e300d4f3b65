"""Which waiting runs a test means: by task, by a part of the arguments, by options. No database in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, overload

from openqueue.codec import encode
from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption, OpenQueueError, did_you_mean
from openqueue.runs.model import RunInfo
from openqueue.tasks.task import Task

__all__ = ["Enqueued", "Waiting", "Wanted"]

NEAR: Final = timedelta(seconds=1)
"""How much a delay may differ: a moment passes between the call and the clock of the database."""

SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits, and the time that its enqueue asked for, whatever `advance` has made of it."""

    run: RunInfo
    asked_for: datetime


class Enqueued(Sequence[RunInfo]):
    """The runs that were found, oldest first; false if there are none. Its text says what else waits."""

    __slots__ = ("_found", "_others", "_wanted")

    def __init__(self, wanted: str, found: Sequence[RunInfo], others: Sequence[RunInfo]) -> None:
        self._wanted = wanted
        self._found = list(found)
        self._others = others

    @overload
    def __getitem__(self, place: int) -> RunInfo: ...
    @overload
    def __getitem__(self, place: slice) -> list[RunInfo]: ...
    def __getitem__(self, place: int | slice) -> RunInfo | list[RunInfo]:
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[RunInfo]:
        return iter(self._found)

    def __repr__(self) -> str:
        if self._found:
            return f"<{_several(self._found)}>"
        others = f"what waits: {_several(self._others)}" if self._others else "nothing else does"
        return f"<no run of {self._wanted} waits; {others}>"


class Wanted:
    """What a test looks for: a task (or its name, or None: any), and values of arguments and options.

    A name that the task's signature has is an argument, any other is an option. Raises InvalidOption for a
    name that is neither.
    """

    def __init__(self, what: Task[..., Any] | str | None, values: Mapping[str, Any]) -> None:
        self._task = what if isinstance(what, Task) else None
        self._name = what.name if isinstance(what, Task) else what
        self._values = dict(values)
        self._arguments = {name: value for name, value in values.items() if self._is_argument(name)}
        self._options = {name: value for name, value in values.items() if name not in self._arguments}

    def find(self, waiting: Sequence[Waiting]) -> Enqueued:
        """The runs that fit."""
        fitting = [one.run for one in waiting if self.fits(one)]
        return Enqueued(str(self), fitting, [one.run for one in waiting])

    def fits(self, one: Waiting) -> bool:
        """Whether this run is of the task, with these arguments (others do not matter) and options."""
        if self._name is not None and one.run.task != self._name:
            return False
        return self._has_arguments(one.run) and all(
            OPTIONS[name](one, value) for name, value in self._options.items()
        )

    def __str__(self) -> str:
        return (self._name or "any task") + (f" with {_call(self._values)}" if self._values else "")

    def _is_argument(self, name: str) -> bool:
        if self._task is None:
            return name not in OPTIONS
        if self._task.arguments.takes(name):
            return True
        if name in OPTIONS:
            return False
        known = [one.name for one in self._task.arguments.contract.signature.parameters]
        raise InvalidOption(
            f"{name}: {self._task.name} has no such argument, and it is no option."
            f"{did_you_mean(name, [*known, *OPTIONS]) or ' Arguments: ' + ', '.join(known) + '.'}",
            option=name,
        )

    def _has_arguments(self, run: RunInfo) -> bool:
        if not self._arguments:
            return True
        stored, read = run.input, self._read(run)
        return all(
            (name in read and _equal(value, read[name])) or (name in stored and _equal(value, stored[name]))
            for name, value in self._arguments.items()
        )

    def _read(self, run: RunInfo) -> dict[str, Any]:
        """The arguments as the task would get them, defaults too; none where only the name is known."""
        if self._task is None:
            return {}
        parameters = self._task.arguments.contract.signature.parameters
        defaults = {one.name: one.default for one in parameters if not one.required}
        try:
            return {**defaults, **self._task.arguments.parse(encode(run.input))}
        except OpenQueueError:  # enqueued by name with arguments that do not fit: seen as they are stored
            return {}


def _has_delay(one: Waiting, value: Any) -> bool:
    if value is None:
        return abs(one.asked_for - one.run.created_at) <= NEAR
    wanted = parse_duration(value, field="delay")
    return abs(one.asked_for - one.run.created_at - wanted) <= NEAR


OPTIONS: Final[Mapping[str, Callable[[Waiting, Any], bool]]] = {
    "queue": lambda one, value: one.run.queue == value,
    "key": lambda one, value: one.run.key == value,
    "priority": lambda one, value: one.run.priority == value,
    "max_attempts": lambda one, value: one.run.max_attempts == value,
    "status": lambda one, value: one.run.status == value,
    "attempt": lambda one, value: one.run.attempt == value,
    "delay": _has_delay,
    "run_at": lambda one, value: bool(one.asked_for == value),
    "meta": lambda one, value: all(one.run.meta.get(name) == wanted for name, wanted in value.items()),
    "tags": lambda one, value: set(value) <= set(one.run.tags),
    "id": lambda one, value: str(one.run.id) == str(value),
}
"""How each option is compared; of meta and tags a part is enough."""


def _equal(wanted: Any, found: Any) -> bool:
    return bool(wanted == found) or (isinstance(wanted, tuple) and list(wanted) == found)


def _several(runs: Sequence[RunInfo]) -> str:
    more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    return ", ".join(f"{run.task}({_call(run.input)})" for run in runs[:SHOWN]) + more


def _call(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
