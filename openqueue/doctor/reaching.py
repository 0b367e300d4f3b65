"""The ways to the database: whether they lead there, what is in between, whether notifications arrive.

Behind a pooler the session that answers is not the one that the client was told of when it connected. One
that keeps nothing in a session answers from another session as soon as somebody else is in a transaction.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from openqueue.db.faults import FROM_ASYNCPG, mapped
from openqueue.db.listener import ECHO
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Target, connect
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Severity
from openqueue.doctor.phrases import ago
from openqueue.errors import OpenQueueError

__all__ = ["Pooler", "Reached", "hears", "judge_clock", "judge_connection", "judge_listening", "reach"]

Pooler = Literal["none", "session", "transaction"]

APPLICATION: Final = "openqueue doctor"
_TRIES: Final = 3
_ELSEWHERE: Final = 1.0
"""Seconds that a session may take to answer while another one is in a transaction."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A database that answered: what stands before it, how far away it is, and its clock against ours.

    round_trip   seconds, the fastest of three
    ahead        seconds that the database's clock is ahead; `unsure` is how wrong that may be
    """

    place: str
    pooler: Pooler
    round_trip: float
    ahead: float
    unsure: float


async def reach(url: str, schema: str, timeout: float) -> Reached:
    """Connect twice and ask. Raises ConnectionFailed and ConfigError, as every command does."""
    target = Target.of(url, pooled=True)  # so that it works whatever is in between
    statements = Statements(schema)
    async with _connected(target, timeout) as connection:
        trips = [await _trip(connection, statements) for _ in range(_TRIES)]
        fastest, ahead = min(trips)
        pooler = await _pooler(connection, target, statements, timeout)
    return Reached(str(target.place), pooler, fastest, ahead, fastest / 2)


async def _trip(connection: Connection, statements: Statements) -> tuple[float, float]:
    before, began = time.time(), time.monotonic()
    told: datetime = await connection.fetchval(statements["database_time"])
    took = time.monotonic() - began
    return took, told.timestamp() - (before + took / 2)


async def _pooler(connection: Connection, target: Target, statements: Statements, timeout: float) -> Pooler:
    """What stands in between, as far as it shows."""
    pid = await connection.fetchval(statements["doctor_pid"])
    if pid == connection.get_server_pid():
        return "none"
    with suppress(OpenQueueError, *FROM_ASYNCPG, TimeoutError):
        async with _connected(target, timeout) as other:
            for _ in range(_TRIES):
                async with other.transaction():
                    await other.fetchval(statements["doctor_pid"])
                    if not await _answers_as(connection, statements, pid):
                        return "transaction"
    return "session"


async def _answers_as(connection: Connection, statements: Statements, pid: int) -> bool:
    """Whether the same session answers as before, and soon: a pooler may have no other."""
    try:
        async with asyncio.timeout(_ELSEWHERE):
            found: bool = await connection.fetchval(statements["doctor_pid"]) == pid
    except TimeoutError:
        return False
    return found


async def hears(url: str, schema: str, main: Connection, timeout: float) -> bool:
    """Whether a session at `url` hears what `main` notifies: both lead to one database, and LISTEN works."""
    statements = Statements(schema)
    token = f"{ECHO}doctor {secrets.token_hex(8)}"  # which the listeners of workers know to ignore
    heard = asyncio.Event()

    def receive(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if payload == token:
            heard.set()

    async with _connected(Target.of(url), timeout, statement_cache_size=0) as listening:
        await listening.add_listener(schema, receive)
        try:
            async with asyncio.timeout(timeout):
                await main.fetch(statements["listener_notify"], schema, token)
                await heard.wait()
        except TimeoutError:
            return False
        finally:
            await listening.remove_listener(schema, receive)
    return True


@asynccontextmanager
async def _connected(target: Target, timeout: float, **options: Any) -> AsyncIterator[Connection]:
    connection = await connect(target, application=APPLICATION, timeout=timeout, **options)
    try:
        yield connection
    except FROM_ASYNCPG as error:
        raise mapped(error, str(target.place), seconds=timeout) from error
    finally:
        with suppress(Exception):
            await connection.close(timeout=1)


def judge_connection(reached: Reached, case: Case) -> Judgement:
    """The main way: far away, or through a pooler that the settings know nothing of."""
    behind = {
        "none": "",
        "session": ", through a pooler (each client keeps its session)",
        "transaction": ", through a pooler in transaction mode",
    }[reached.pooler]
    said = f"{reached.place}, {reached.round_trip * 1000:.1f} ms away{behind}"
    return Judgement(said, (*_unknown_pooler(reached, case), *_far(reached, case)))


def _unknown_pooler(reached: Reached, case: Case) -> list[Finding]:
    if (reached.pooler == "transaction") == case.pooled:
        return []
    if case.pooled:
        return [
            Finding(
                Severity.NOTICE,
                "The setting pooler is `transaction`, but no pooler in transaction mode shows itself.",
                "Statements are not prepared, which costs time for nothing. If there is one, all is well.",
                ("openqueue config   # pooler: leave it out where there is none",),
            )
        ]
    return [
        Finding(
            Severity.CRITICAL,
            "A pooler in transaction mode stands before the database, and the setting pooler says `none`.",
            "Prepared statements, LISTEN and liveness locks end up in sessions of others: workers stumble,"
            " and are"
            " taken for dead.",
            (
                "export OPENQUEUE_POOLER=transaction",
                "export OPENQUEUE_LISTEN_DSN=postgresql://…   # the server itself (docs/pgbouncer.md)",
            ),
        )
    ]


def _far(reached: Reached, case: Case) -> list[Finding]:
    if reached.round_trip < case.bounds.round_trip:
        return []
    return [
        Finding(
            Severity.NOTICE,
            f"The database is {reached.round_trip * 1000:.0f} ms away.",
            "Every claim and every enqueue takes that long at least. Batches hide it, single jobs do not.",
            ("# run workers where the database is",),
            {"round_trip": reached.round_trip},
        )
    ]


def judge_clock(reached: Reached, case: Case) -> Judgement:
    """The clocks, as far as the way there lets one tell."""
    off = max(abs(reached.ahead) - reached.unsure, 0.0)
    way = "ahead of" if reached.ahead > 0 else "behind"
    warning, critical = case.bounds.clock
    if off < warning:
        return Judgement(f"differs by {ago(off)} at most" if off >= 1 else "the same to a second")
    return Judgement(
        f"{ago(off)} {way} this machine's",
        (
            Finding(
                Severity.CRITICAL if off >= critical else Severity.WARNING,
                f"The database's clock is {ago(off)} {way} this machine's.",
                "Only the database's clock decides when a job is due. A `run_at` that was worked out here"
                " comes that"
                " much early or late; beyond five minutes, ids that are made here are refused.",
                ("timedatectl status   # here and on the server: is the clock synchronised?",),
                {"ahead": reached.ahead},
            ),
        ),
    )


def judge_listening(heard: bool | None, pooler: Pooler, case: Case) -> Judgement:
    """Whether notifications arrive; `heard` None: nobody listened, as a pooler would give it away."""
    if heard:
        return Judgement("notifications arrive")
    through = heard is None
    bypass = "listen_dsn leads through a pooler, too" if case.listen_url else "there is no listen_dsn"
    return Judgement(
        "no notifications",
        (
            Finding(
                Severity.WARNING,
                f"Nothing can be listened for: a pooler in transaction mode is in between, and {bypass}."
                if through
                else "A notification was sent, and not heard where workers listen.",
                f"Work is found by polling alone: a job starts up to {ago(case.poll)} late, a cancellation"
                " takes a beat,"
                " and the end of a killed worker is noticed later."
                if through or case.listen_url is None
                else "listen_dsn leads to another database or through a pooler: work is found by polling"
                " alone, and"
                " heartbeats may go astray.",
                ("export OPENQUEUE_LISTEN_DSN=postgresql://…   # the same database, on the server itself",),
                {"pooler": pooler},
            ),
        ),
    )
