"""What the database says has happened: the other side that the checker compares."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

__all__ = ["EFFECTS", "Attempt", "Effect", "History", "Run", "Tick", "read"]

EFFECTS = """
    CREATE TABLE IF NOT EXISTS effects (
        n bigint GENERATED ALWAYS AS IDENTITY, run uuid NOT NULL, execution uuid NOT NULL, what text NOT NULL,
        since timestamptz NOT NULL DEFAULT statement_timestamp(),
        at timestamptz NOT NULL DEFAULT clock_timestamp(), pid integer NOT NULL,
        worker uuid, claim bigint, attempt integer, state text)"""
"""Written by the tasks themselves. worker, claim, attempt and state: of the run's job at some moment between
`since` and `at`, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands. `live`: whether it is a row of the live table, with its state.

    `run_at`, `deadline`: not to begin before the one, nor after the other.
    """

    id: UUID
    task: str
    token: str | None
    tick: tuple[str, datetime] | None = None
    live: str | None = None
    max_attempts: int = 25
    run_at: datetime | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of history."""

    run: UUID
    attempt: int
    outcome: str
    final: bool = False
    counted: int = 1
    worker: UUID | None = None
    claim: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    execution: UUID | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a task did, and who held the fence of its run at some moment between `since` and `at`.

    A job that was claimed ahead shows as running (state 'r') a tenth of a second after it has begun. If its
    worker is killed before, the attempt does not count, and its number is the next one's.
    """

    run: UUID
    execution: UUID
    what: str
    at: datetime
    pid: int = 0
    worker: UUID | None = None
    claim: int | None = None
    attempt: int | None = None
    since: datetime | None = None
    state: str | None = "r"


@dataclass(frozen=True, slots=True)
class Tick:
    """A time of a schedule that was decided. `missed`: how many this one row stands for."""

    schedule: str
    at: datetime
    run: UUID | None = None
    missed: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All of it, as it was at one moment; effects in the order of time."""

    runs: list[Run] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    logged: list[tuple[UUID, int]] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)


async def read(connection: asyncpg.Connection) -> History:
    """Read it. Each run has its token in its input, each result the execution that it comes from."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        runs = await connection.fetch(
            "SELECT r.id, r.task, r.input ->> 'token' AS token, r.meta -> 'openqueue.tick' AS tick,"
            " r.max_attempts, r.run_at, r.deadline, j.state::text AS live"
            " FROM openqueue.run_requests r LEFT JOIN openqueue.jobs j ON j.id = r.id"
        )
        attempts = await connection.fetch("SELECT * FROM openqueue.attempts ORDER BY run_id, attempt")
        effects = await connection.fetch("SELECT * FROM effects ORDER BY at, n")
        ticks = await connection.fetch("SELECT * FROM openqueue.schedule_ticks ORDER BY schedule, at")
        logged = await connection.fetch(
            "SELECT DISTINCT run_id, attempt FROM openqueue.run_log WHERE kind <> 'event'"
        )
        stray = await connection.fetch(
            "SELECT what, id FROM (SELECT 'job', id FROM openqueue.jobs UNION ALL"
            " SELECT 'attempt of', run_id FROM openqueue.attempts UNION ALL"
            " SELECT 'log of', run_id FROM openqueue.run_log) kept (what, id)"
            " WHERE id NOT IN (SELECT id FROM openqueue.run_requests)"
        )
    return History(
        runs=[_run(row) for row in runs],
        attempts=[_attempt(row) for row in attempts],
        effects=[Effect(**{name: row[name] for name in Effect.__slots__}) for row in effects],
        ticks=[Tick(row["schedule"], row["at"], row["run_id"], row["missed"]) for row in ticks],
        logged=[(row["run_id"], row["attempt"]) for row in logged],
        unsound=[f"{row['what']} {row['id']} has no request" for row in stray],
    )


def _run(row: Any) -> Run:
    tick = json.loads(row["tick"]) if row["tick"] else None
    of = (tick["schedule"], datetime.fromisoformat(tick["at"])) if tick else None
    times = row["run_at"], row["deadline"]
    return Run(row["id"], row["task"], row["token"], of, row["live"], row["max_attempts"], *times)


def _attempt(row: Any) -> Attempt:
    output = json.loads(row["output"]) if row["output"] else None
    error = json.loads(row["error"]) if row["error"] else {}
    return Attempt(
        run=row["run_id"],
        attempt=row["attempt"],
        outcome=row["outcome"],
        final=row["final"],
        counted=row["counted"],
        worker=row["worker"],
        claim=row["claim"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        execution=UUID(output["execution"]) if isinstance(output, dict) and "execution" in output else None,
        error=error.get("type"),
    )
