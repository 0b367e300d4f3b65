"""From items to the parallel arrays of `add_batch`. Pure.

A whole batch is one statement. Items of one task without options of their own, the common bulk, share
everything but their inputs and go by the shorter statement `add_plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from openqueue.codec import check_size, encode
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.options import NO_OPTIONS

__all__ = ["statement_of"]


def statement_of(items: Sequence[Item[Any]], namespace: str, largest: int) -> tuple[str, list[Any]]:
    """The statement that enqueues these items, by name, and its arguments. Raises TooLarge.

    `largest` is the limit on each input, in bytes.
    """
    for item in items:
        if len(item.input) * 4 > largest:  # at most four bytes a character
            check_size(item.input, largest, what="input")
    first = items[0]
    if first.declared is not None and all(
        item.options is NO_OPTIONS and item.declared is first.declared for item in items
    ):
        task = first.declared.defaults
        if not (task.meta or task.tags or task.deadline):
            inputs = [item.input for item in items]
            return "add_plain", [
                first.task,
                inputs,
                namespace,
                task.queue,
                task.priority,
                task.max_attempts,
                largest,
            ]
    return "add_batch", _arrays(items, namespace, largest)


def _arrays(items: Sequence[Item[Any]], namespace: str, largest: int) -> list[Any]:
    rows = [_row(item) for item in items]
    columns = [_column([row[place] for row in rows]) for place in range(len(rows[0]))]
    tasks, inputs, *options = columns
    return [tasks, inputs, namespace, *options, largest]


def _column(values: list[Any]) -> list[Any] | None:
    """A column nobody set is not sent."""
    return values if any(value is not None for value in values) else None


def _row(item: Item[Any]) -> tuple[Any, ...]:
    """One item in the order of `add_batch`'s arrays; None is left to the catalogue."""
    said = item.options
    task = item.declared.defaults if item.declared is not None else None
    deadline = said.deadline if task is None or said.deadline is not None else task.deadline
    meta = {**(task.meta if task else {}), **(said.meta or {})}
    tags = list(dict.fromkeys([*(task.tags if task else ()), *(said.tags or ())]))
    return (
        item.task,
        item.input,
        said.queue or (task.queue if task else None),
        _first(said.priority, task.priority if task else None),
        _first(said.max_attempts, task.max_attempts if task else None),
        said.run_at,
        said.delay.total_seconds() if said.delay is not None else None,
        deadline if isinstance(deadline, datetime) else None,
        said.key,
        said.key_mode,
        encode(meta, what="meta") if meta else None,
        encode(tags, what="tags") if tags else None,
        said.id,
        deadline.total_seconds() if isinstance(deadline, timedelta) else None,
    )


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
