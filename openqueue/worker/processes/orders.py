"""What a process is told of a task and of an attempt, and how it finds the task: by importing its module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

from openqueue.codec import decode
from openqueue.errors import ConfigError, InvalidTask
from openqueue.tasks.captured import Capture
from openqueue.tasks.declared import declared
from openqueue.tasks.discovery import reach
from openqueue.tasks.task import Task
from openqueue.worker.job import Job

__all__ = [
    "Order",
    "Place",
    "context_of",
    "find_task",
    "loading",
    "order_of",
    "place_of",
    "refuse_while_loading",
]

_loading = False


class Place(TypedDict):
    """Where a task is: its name, the modules to import (the first that has it), its file and line."""

    task: str
    modules: list[str]
    main: str | None
    place: str


class Order(TypedDict):
    """One attempt of a task: its file and line, input as JSON, what its Context says, its result's bound.

    `capture_logs` is the least level of the standard library's records that are kept.
    """

    place: str
    input: str
    context: dict[str, Any]
    largest_output: int
    capture_logs: Capture


def place_of(task: Task[..., Any]) -> tuple[Place, dict[str, str]]:
    """How another process finds this task; and modules that are called otherwise there than here.

    Raises InvalidTask for one that was typed into a console.
    """
    modules = list(dict.fromkeys([task.module, task.function.__module__]))
    main, renamed = None, {}
    if "__main__" in modules:
        module = sys.modules["__main__"]
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        if spec is None and (file is None or not Path(file).is_file()):
            raise InvalidTask(
                f"{task.name}: executor='process' needs a file to import the task from, and it was declared"
                " in a console. Write it to a module."
            )
        main = None if spec else str(Path(str(file)).resolve())
        name = spec.name if spec else Path(str(file)).stem
        modules = [name if one == "__main__" else one for one in modules]
        renamed = {name: "__main__"}
    return {"task": task.name, "modules": modules, "main": main, "place": task.place}, renamed


def order_of(
    task: Task[..., Any], job: Job, namespace: str, largest_output: int, capture_logs: Capture = "info"
) -> Order:
    """What a process is told of this attempt."""
    row = job.row
    return {
        "place": task.place,
        "input": row["input"],
        "context": {
            "run_id": str(job.id),
            "task": job.task,
            "queue": row["queue"],
            "namespace": namespace,
            "attempt": row["attempt"],
            "max_attempts": row["max_attempts"],
            "meta": row["meta"],
            "tags": list(row["tags"] or ()),
            "scheduled_at": row["run_at"].isoformat() if row["run_at"] else None,
        },
        "largest_output": largest_output,
        "capture_logs": capture_logs,
    }


def context_of(order: Order) -> dict[str, Any]:
    """The fields of the Context that the attempt is given."""
    told = order["context"]
    return {
        **told,
        "run_id": UUID(told["run_id"]),
        "meta": decode(told["meta"]) if told["meta"] else None,
        "tags": tuple(told["tags"]),
        "scheduled_at": datetime.fromisoformat(told["scheduled_at"]) if told["scheduled_at"] else None,
    }


def find_task(place: Place) -> Task[..., Any]:
    """Import the task's module and find it there. Raises ConfigError, and whatever the import raises."""
    for module in place["modules"]:
        if place["main"] is not None and module == Path(place["main"]).stem:
            _import_script(module, place["main"])
        else:
            reach(module)
            importlib.import_module(module)
        found = [one for one in declared() if one.place == place["place"]]
        found = [one for one in found if one.name == place["task"]] or found
        if found:
            return found[-1]
    raise ConfigError(
        f"the process has imported {' and '.join(place['modules'])}, and found no task at {place['place']}."
        f" Declare {place['task']} at the top of a module, whatever the module is imported by."
    )


def _import_script(name: str, file: str) -> None:
    """A program that was started as a script is imported by its file, as something else than `__main__`."""
    if name in sys.modules:
        return
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


@contextmanager
def loading() -> Iterator[None]:
    """Within the block, a module is imported to find a task in it."""
    global _loading  # noqa: PLW0603  a process is one
    _loading = True
    try:
        yield
    finally:
        _loading = False


def refuse_while_loading() -> None:
    """A program that starts a worker when it is imported would do so in each process. Raises ConfigError."""
    if _loading:
        raise ConfigError(
            "This program starts a worker when it is imported, and a process for its tasks has to import it."
            " Put the start below `if __name__ == '__main__':`, or the tasks into a module of their own."
        )
