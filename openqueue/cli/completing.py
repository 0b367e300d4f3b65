"""What the shell offers when Tab is pressed: names from the database, if it answers at once.

Somebody waits with a finger on a key: what is not there within `PATIENCE` is not offered, and whatever goes
wrong is not told, as it would be written into the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import typer

from openqueue.cli.options import DATABASE_FLAGS

__all__ = [
    "complete_check",
    "complete_queue",
    "complete_schedule",
    "complete_sort",
    "complete_status",
    "complete_task",
    "complete_worker",
]

PATIENCE: Final = 0.5
"""Seconds that the database may take, with connecting to it."""


def complete_task(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks that workers have published."""
    return _beginning(incomplete, (row["task"] for row in _rows(ctx, "known_tasks")))


def complete_queue(ctx: typer.Context, incomplete: str) -> list[str]:
    """Queues of these tasks, and those that have unfinished runs."""
    return _beginning(incomplete, (row["queue"] for row in _rows(ctx, "catalog", "known_queues")))


def complete_schedule(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of schedules."""
    return _beginning(incomplete, (row["key"] for row in _rows(ctx, "schedule_keys")))


def complete_check(incomplete: str) -> list[str]:
    """Checks of the doctor, also behind a comma."""
    from openqueue.doctor.checks import NAMES

    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in NAMES if name.startswith(word)]


def complete_worker(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of workers that live."""
    return _beginning(incomplete, (row["name"] for row in _rows(ctx, "workers")))


def complete_sort(incomplete: str) -> list[str]:
    """The orders of lists."""
    from openqueue.runs.filter import SORTS

    return [one for one in SORTS if one.startswith(incomplete)]


def complete_status(incomplete: str) -> list[str]:
    """Statuses, also behind a comma."""
    from openqueue.runs.states import STATUSES

    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{one.status}" for one in STATUSES if one.status.startswith(word)]


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete) and word.isprintable()})


def _rows(ctx: typer.Context, *statements: str) -> Sequence[Any]:
    given = {key: ctx.params[name] for name, key in DATABASE_FLAGS.items() if ctx.params.get(name)}
    with suppress(Exception):
        return asyncio.run(_within_patience(given, statements))
    return []


async def _within_patience(given: dict[str, Any], statements: Iterable[str]) -> list[Any]:
    from openqueue.cli.session import with_database
    from openqueue.db.quoting import check_schema
    from openqueue.db.statements import Statements
    from openqueue.db.target import Target, connect
    from openqueue.settings import load_settings

    settings = with_database(load_settings(**given))
    assert settings.database_url is not None
    texts = Statements(check_schema(settings.schema_name))
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        target = Target.of(settings.database_url.get_secret_value())
        connection = await connect(target, application="openqueue completion", timeout=PATIENCE)
        try:
            for name in statements:
                found += await connection.fetch(texts[name], settings.namespace)
        finally:
            connection.terminate()
    return found
