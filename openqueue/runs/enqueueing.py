"""From items to one statement, and from its answer to runs. Pure.

Items of one task without options of their own, the common single job and the common bulk, share all but
their inputs and go by the shorter statements `add_one` and `add_same`; others are the arrays of `add_batch`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from openqueue.codec import check_size, encode
from openqueue.db.reports import reported
from openqueue.errors import InvalidOption
from openqueue.runs.model import Run
from openqueue.runs.parts import Part
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.keys import unique_key
from openqueue.tasks.options import NO_OPTIONS
from openqueue.tasks.task import Task

if TYPE_CHECKING:
    from openqueue.runs.client import Client

__all__ = ["Batch", "is_plain"]

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items as one statement, by its name in `sql/queries`, and its arguments."""

    items: Sequence[Item[Any]]
    statement: str
    arguments: Sequence[Any]

    @classmethod
    def of(cls, items: Sequence[Item[Any]], namespace: str, largest: int, ttl: float = DAY) -> Batch:
        """Write the items down; `largest` is the limit on each input, in bytes. Raises TooLarge.

        `ttl` is for how many seconds an idempotency key is remembered that says nothing of it.
        """
        inputs = [item.input for item in items]
        if len(max(inputs, key=len)) * 4 > largest:  # at most four bytes a character
            for n, text in enumerate(inputs):
                check_size(text, largest, what=f"{_place(items, n)}input")
        task = _shared(items)
        if task is None:
            return cls(items, "add_batch", _arrays(items, namespace, largest, ttl))
        said = task.defaults
        shared = (namespace, said.queue, said.priority, said.max_attempts, largest)
        if len(inputs) == 1:
            return cls(items, "add_one", [task.name, *inputs, *shared])
        return cls(items, "add_same", [task.name, inputs, *shared])

    def refusal(self, error: InvalidOption) -> InvalidOption:
        """What the database refused, with the item that it refused it of."""
        report = reported(error.__cause__) if error.__cause__ else None
        found = re.fullmatch(r"job (\d+)", (report and report.detail) or "")
        place = _place(self.items, int(found[1])) if found else ""
        return InvalidOption(f"{place[:-1]}: {error}" if place else str(error), option=place + error.option)

    def runs(self, client: Client, rows: Sequence[Mapping[str, Any]]) -> list[Run[Any]]:
        """The answer of the statement as runs, in the order of the items."""
        if self.statement == "add_one":
            return [Run(client, rows[0]["id"], self.items[0].task, "added", self.items[0].declared)]
        if self.statement == "add_same":
            name, task = self.items[0].task, self.items[0].declared
            return [Run(client, run_id, name, "added", task) for run_id in rows[0]["ids"]]
        return [
            Run(client, row["id"], item.task, row["outcome"], item.declared)
            for item, row in zip(self.items, rows, strict=True)
        ]


def is_plain(item: Item[Any]) -> bool:
    """Whether an item has nothing but its task and its input."""
    task = item.declared
    if task is None or item.options is not NO_OPTIONS:
        return False
    said = task.defaults
    return not (said.meta or said.tags or said.deadline or said.concurrency_key)


def _place(items: Sequence[Item[Any]], n: int) -> str:
    """Where the n-th item stands in what a caller gave, as a prefix; nothing for one that was given alone."""
    if isinstance(items, Part) and (items.first or len(items) > 1):
        return f"items[{items.first + n}]."
    return ""


def _shared(items: Sequence[Item[Any]]) -> Task[..., Any] | None:
    """The task that all of them are of, if nothing but their inputs tells them apart."""
    first = items[0]
    if is_plain(first) and all(item.what is first.what and item.options is NO_OPTIONS for item in items):
        return first.declared
    return None


def _arrays(items: Sequence[Item[Any]], namespace: str, largest: int, ttl: float) -> list[Any]:
    tasks, inputs, *options = _columns([_row(item) for item in items])
    groups, keys, *others = _columns([_control(item, ttl) for item in items])
    if keys is not None and set(keys) == {""}:
        keys = [""]
    return [tasks, inputs, namespace, *options, largest, groups, keys, *others]


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any] | None]:
    return [_column([row[place] for row in rows]) for place in range(len(rows[0]))]


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
        unique_key(item.task, item.input) if said.unique else said.key,
        said.key_mode or ("skip" if said.unique else None),
        encode(meta, what="meta") if meta else None,
        encode(tags, what="tags") if tags else None,
        said.id,
        deadline.total_seconds() if isinstance(deadline, timedelta) else None,
    )


def _control(item: Item[Any], ttl: float) -> tuple[Any, ...]:
    """The rest: what control has to know, and the idempotency key. An empty concurrency key is none."""
    said = item.options
    task = item.declared.defaults if item.declared is not None else None
    key = said.concurrency_key or item.concurrency_key
    remembered = said.idempotency_ttl.total_seconds() if said.idempotency_ttl else ttl
    return (
        said.group,
        key if task is None else key or "",
        task.key_concurrency if task and key else None,
        task.keeps_slot if task and key else None,
        said.idempotency,
        remembered if said.idempotency else None,
    )


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
