"""The concurrency key of a schedule's runs: its arguments stay the same, so the key is worked out once.

Who fires a tick is SQL, which knows a key that is a text from the catalogue, and no functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openqueue.codec import encode
from openqueue.tasks.keys import key_of
from openqueue.tasks.task import Task

__all__ = ["key_of_runs"]


def key_of_runs(task: Task[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """What the task's function makes of these arguments, empty for no key; None: the task has no function.

    Raises InvalidOption for what is no key, and for what the function raises.
    """
    if not callable(task.defaults.concurrency_key):
        return None
    return key_of(task, encode(dict(arguments), what="input")) or ""
