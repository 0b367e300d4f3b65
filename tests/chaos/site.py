"""Where harm is done: a PostgreSQL of its own, several workers, and somebody who enqueues."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from openqueue.db.migrations import migrate
from tests.chaos import tasks
from tests.chaos.history import EFFECTS, History, read
from tests.chaos.load import AWAY, Load
from tests.chaos.worker import Worker
from tests.support.eventually import PATIENCE, eventually
from tests.support.own_server import OwnServer

__all__ = ["Blow", "Site"]

ADD_TICKS = "SELECT openqueue.add_schedule('every second', 'chaos.tick', cron => '* * * * * *')"
UNFINISHED = "SELECT count(*) FROM openqueue.jobs"


@dataclass(slots=True)
class Blow:
    """One thing that was done: from when until when (seconds of the clock), and to which workers."""

    what: str
    began: float
    over: float = 0.0
    victims: list[Worker] = field(default_factory=list)


class Site:
    """`server` and `workers` may be harmed; what is done is noted as blows.

    `way` is the address that workers and people use, `dsn` the server's own.
    """

    stack: AsyncExitStack
    """What ends with the site."""

    def __init__(self, server: OwnServer, directory: Path, seed: int, settings: Mapping[str, Any]) -> None:
        self.server = server
        self.directory = directory
        self.settings = dict(settings)
        self.dsn = self.way = self.effects = server.dsn()
        self.workers: list[Worker] = []
        self.gone: list[Worker] = []
        self.blows: list[Blow] = []
        self.faults: list[str] = []
        self.seed = seed
        self._made = 0

    @classmethod
    @asynccontextmanager
    async def up(
        cls,
        *,
        binaries: Path | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        server: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Site]:
        """Server, schema and a schedule that fires every second; no worker yet."""
        async with AsyncExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="openqueue-chaos-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            (directory / "tasks").mkdir()
            shutil.copy(tasks.__file__, directory / "tasks" / "chaos.py")
            own = await asyncio.to_thread(
                stack.enter_context,
                OwnServer.temporary(binaries, {"max_connections": "100", **(server or {})}),
            )
            site = cls(own, directory, seed, settings or {})
            site.stack = stack
            stack.push_async_callback(site._end)
            await site.furnish()
            yield site

    async def furnish(self) -> None:
        """What has to be in the database before anybody works."""
        await migrate(self.dsn)
        await self.execute(EFFECTS)
        await self.execute("CREATE INDEX ON effects (run)")
        await self.execute(ADD_TICKS)

    def load(self, **more: Any) -> Load:
        """Somebody who enqueues, by the way that people use."""
        pooler = self.settings.get("pooler", "none")
        return Load(self.way, self.connect, self.seed, pooler=pooler, **more)

    async def connect(self) -> asyncpg.Connection:
        """A connection by that way; good behind a pooler, too."""
        return await asyncpg.connect(self.way, timeout=10, command_timeout=20, statement_cache_size=0)

    async def start(self, count: int = 1, **settings: Any) -> list[Worker]:
        """Start more workers; they take in work when this returns."""
        return await asyncio.gather(*(self._started(settings) for _ in range(count)))

    async def _started(self, settings: Mapping[str, Any]) -> Worker:
        """One that takes in work; it is started again, as a supervisor would, while there is no database."""
        deadline = time.monotonic() + PATIENCE
        while True:
            worker = self.spawn(**settings)
            if await worker.begun():
                return worker
            assert time.monotonic() < deadline, worker.tail()
            self.dismiss(worker)
            await asyncio.sleep(0.5)

    def spawn(self, **settings: Any) -> Worker:
        """Start a worker, without waiting for it."""
        self._made += 1
        given = {"name": f"worker-{self._made}", **self.settings, **settings}
        worker = Worker(
            self.directory, given.pop("dsn", self.way), given.pop("effects", self.effects), **given
        )
        self.workers.append(worker)
        return worker

    def dismiss(self, worker: Worker) -> None:
        """It is to end now, or has ended: whether it did so well is somebody else's business."""
        self.workers.remove(worker)
        self.gone.append(worker)

    @contextmanager
    def blow(self, what: str, *victims: Worker) -> Iterator[Blow]:
        """Harm is done within the block."""
        one = Blow(what, time.time(), victims=list(victims))
        self.blows.append(one)
        yield one
        one.over = time.time()

    async def execute(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Over a connection of its own, straight to the server."""
        writable = {"default_transaction_read_only": "off"}
        connection = await asyncpg.connect(self.dsn, timeout=30, command_timeout=60, server_settings=writable)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows
        finally:
            await connection.close(timeout=10)

    async def completes(self, more: int, timeout: float = PATIENCE) -> None:
        """Return once so many more attempts were completed."""
        sql = "SELECT count(*) FROM openqueue.attempts WHERE outcome = 'completed'"
        (row,) = await self.patiently(sql)
        wanted = row["count"] + more

        async def look() -> bool:
            (row,) = await self.patiently(sql)
            return bool(row["count"] >= wanted)

        await eventually(look, timeout=timeout, every=0.1, what=f"{more} more runs completed")

    async def patiently(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """As `execute`, but a server that is away just now is waited for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await self.execute(sql, *arguments)
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def settled(self, timeout: float = 2 * PATIENCE) -> History:
        """No more ticks; everything ends, every worker stops in good order; else it is among `faults`."""
        await self.patiently("SELECT openqueue.remove_schedule('every second')")
        try:
            await eventually(self._all_ended, timeout=timeout, every=0.2, what="all runs have ended")
        except AssertionError as error:
            self.faults.append(str(error))
        for worker in [*self.workers]:
            await self._stops(worker)
        connection = await asyncpg.connect(self.dsn, timeout=30, command_timeout=120)
        try:
            for table in ("workers", "claims"):
                left = await connection.fetchval(f"SELECT count(*) FROM openqueue.{table}")
                if left and not any(one.doomed for one in self.gone):
                    self.faults.append(f"{left} rows are left in {table}")
            return await read(connection)
        finally:
            await connection.close(timeout=30)

    async def _all_ended(self) -> bool:
        (row,) = await self.patiently(UNFINISHED)
        return bool(row["count"] == 0)

    async def _stops(self, worker: Worker) -> None:
        self.dismiss(worker)
        if not worker.alive:
            self.faults.append(f"{worker.name} ended by itself, with {worker.process.returncode}")
            return
        try:
            code = await worker.stop()
        except AssertionError as error:
            self.faults.append(str(error))
        else:
            if code:
                self.faults.append(f"{worker.name} stopped with {code}")

    async def _end(self) -> None:
        for worker in [*self.workers, *self.gone]:
            with suppress(ProcessLookupError):
                await worker.end()
