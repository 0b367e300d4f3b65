"""Attacks on PostgreSQL: restarted, killed, its sessions ended, and made to refuse."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random
from typing import ClassVar

import asyncpg

from tests.chaos.attack import Attack
from tests.chaos.load import AWAY, Load
from tests.chaos.site import Site
from tests.chaos.worker import Worker
from tests.support.own_server import Mode

__all__ = ["ON_SERVER"]

CROWD = "crowd"
MOST_SAID = 10
"""Lines about the same in half a minute; each kind of task has a part of its own that may stumble twice."""

END = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"""


class Restarted(Attack):
    """`pg_ctl restart -m fast`, again and again."""

    name = "PostgreSQL: restart, fast"
    mode: ClassVar[Mode] = "fast"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(3):
            with site.blow(self.name):
                await asyncio.to_thread(site.server.restart, self.mode)
            await site.completes(random.choice((1, 20)))


class Crashed(Restarted):
    """`pg_ctl restart -m immediate`, again and again: each start recovers from the log."""

    name = "PostgreSQL: restart, immediate"
    mode: ClassVar[Mode] = "immediate"


class Killed(Attack):
    """kill -9 of the postmaster, down for a while, and started again."""

    name = "PostgreSQL: kill -9"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            await asyncio.to_thread(site.server.kill)
            await asyncio.sleep(random.choice((0, 3)))
            await asyncio.to_thread(site.server.start)
        await site.completes(20)


class Away(Attack):
    """Down for half a minute, longer than a lease that rests on beats; nobody complains of it each second."""

    name = "PostgreSQL: away for 30 s"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            await asyncio.to_thread(site.server.stop, "fast")
            await asyncio.sleep(30)
            await asyncio.to_thread(site.server.start)
        await site.completes(20)
        said = Counter(of for worker in site.workers for of in complaints(worker))
        repeated = {of: times for of, times in said.items() if times > MOST_SAID}
        assert not repeated, f"said again and again: {repeated}"


def complaints(worker: Worker) -> list[tuple[str, ...]]:
    """What it warned of, by itself and by which of its parts; what its runs met is their own affair."""
    lines = [line for line in worker.told() if line["level"] != "info" and "run_id" not in line]
    return [
        (worker.name, line["event"], str(line.get("service") or line.get("duty") or "")) for line in lines
    ]


class Terminated(Attack):
    """pg_terminate_backend of every session of one kind after the other, and then of all."""

    name = "PostgreSQL: sessions terminated"
    kinds: ClassVar = ("openqueue worker", "openqueue listener", "openqueue heartbeat", "%", "%", "%")

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for kind in self.kinds:
            with site.blow(f"{self.name}: {kind}"):
                await site.patiently(
                    f"{END} AND application_name LIKE $1",
                    kind,
                )
            await site.completes(5)


class Full(Attack):
    """Every connection that the server allows is taken, while those of the workers are ended."""

    name = "PostgreSQL: no connection left"
    server: ClassVar = {"max_connections": "40", "superuser_reserved_connections": "3"}

    async def prepare(self, site: Site) -> None:
        await site.execute(f"CREATE ROLE {CROWD} LOGIN")

    async def run(self, site: Site, load: Load, random: Random) -> None:
        taken: list[asyncpg.Connection] = []
        with site.blow(self.name):
            for _ in range(3):
                with suppress(*AWAY):
                    while True:
                        taken.append(await asyncpg.connect(site.dsn, timeout=10, user=CROWD))
                await site.patiently(f"{END} AND application_name LIKE 'openqueue%'")
                await asyncio.sleep(1)
            for connection in taken:
                connection.terminate()
        await site.completes(20)


class ReadOnly(Attack):
    """default_transaction_read_only for a while, as when a disk is nearly full or a primary demoted."""

    name = "PostgreSQL: read-only for 5 s"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            await self._say(site, "on")
            await asyncio.sleep(5)
            await self._say(site, "off")
        await site.completes(20)

    async def _say(self, site: Site, value: str) -> None:
        await site.patiently(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await site.patiently("SELECT pg_reload_conf()")


class Locked(Attack):
    """Somebody holds a lock on the whole of `jobs` for longer than a statement may take."""

    name = "PostgreSQL: jobs locked for 15 s"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        connection = await asyncpg.connect(site.dsn)
        try:
            with site.blow(self.name):
                async with connection.transaction():
                    await connection.execute("LOCK TABLE openqueue.jobs IN ACCESS EXCLUSIVE MODE")
                    await asyncio.sleep(15)
        finally:
            await connection.close()
        await site.completes(20)


class TimedOut(Attack):
    """A statement_timeout and a lock_timeout set on the role, and locks held so that they strike."""

    name = "PostgreSQL: timeouts on the role"

    async def prepare(self, site: Site) -> None:
        await site.execute("ALTER ROLE postgres SET statement_timeout = '300ms'")
        await site.execute("ALTER ROLE postgres SET lock_timeout = '100ms'")

    async def run(self, site: Site, load: Load, random: Random) -> None:
        connection = await asyncpg.connect(site.dsn)
        await connection.execute("SET lock_timeout = 0")
        await connection.execute("SET statement_timeout = 0")
        try:
            with site.blow(self.name):
                for _ in range(4):
                    async with connection.transaction():
                        await connection.execute("LOCK TABLE openqueue.jobs IN SHARE ROW EXCLUSIVE MODE")
                        await asyncio.sleep(1)
                    await asyncio.sleep(0.2)
        finally:
            await connection.close()
        await site.completes(20)


ON_SERVER: list[type[Attack]] = [
    Restarted,
    Crashed,
    Killed,
    Away,
    Terminated,
    Full,
    ReadOnly,
    Locked,
    TimedOut,
]
