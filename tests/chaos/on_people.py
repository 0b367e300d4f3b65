"""What people and poolers do meanwhile: cancel, retry, pause, hold rows, prune, take a session's state."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import ClassVar

import asyncpg

from tests.chaos.attack import Attack
from tests.chaos.journal import Asked
from tests.chaos.load import AWAY, Load
from tests.chaos.old_code import run
from tests.chaos.on_network import PooledAlone
from tests.chaos.on_schedules import leading
from tests.chaos.on_server import END
from tests.chaos.on_workers import replaced
from tests.chaos.site import Site
from tests.chaos.worker import ROOT

__all__ = ["ON_PEOPLE"]

HOLD = "SELECT FROM openqueue.jobs WHERE random() < 0.5 FOR UPDATE"


class Meddled(Attack):
    """Runs are cancelled, retried, moved, held in transactions, queues paused, while workers are killed."""

    name = "people: cancel, retry, move, pause"
    workers = 4
    settings: ClassVar = {"grace": "1s"}

    async def run(self, site: Site, load: Load, random: Random) -> None:
        acts: list[Callable[[Site, Load, Random], Awaitable[None]]] = [self._cancel, self._retry, self._move]
        acts = acts * 8 + [self._hold, self._pause, self._terminate]
        with site.blow(self.name):
            harm = asyncio.create_task(self._harm(site, load, random))
            while not harm.done():
                with suppress(*AWAY):
                    await random.choice(acts)(site, load, random)
            await harm
        await site.patiently("SELECT openqueue.resume_queue('default')")
        await site.completes(20)

    async def _harm(self, site: Site, load: Load, random: Random) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM) * 2:
            await asyncio.sleep(1)
            victim = random.choice(site.workers)
            victim.doomed = number == signal.SIGKILL
            victim.signal(number)
            site.dismiss(victim)
            await victim.ended()
            await site.start()

    async def _cancel(self, site: Site, load: Load, random: Random) -> None:
        await self._act(site, load, random, "SELECT openqueue.cancel_run($1)")

    async def _retry(self, site: Site, load: Load, random: Random) -> None:
        await self._act(site, load, random, "SELECT openqueue.retry_run($1)")

    async def _move(self, site: Site, load: Load, random: Random) -> None:
        sql = "SELECT openqueue.edit_run($1, run_at => now() + interval '1 second', priority => -1)"
        await self._act(site, load, random, sql)

    async def _act(self, site: Site, load: Load, random: Random, sql: str) -> None:
        recent = [*load.journal.asked.values()][-60:]
        free = [one for one in recent if one.run and not one.ordered and one.answer == "accepted"]
        if not free:
            await asyncio.sleep(0.05)
            return
        one: Asked = random.choice(free)
        one.meddled = True
        await site.execute(sql, one.run)

    async def _hold(self, site: Site, load: Load, random: Random) -> None:
        """Somebody's transaction has half of the jobs locked for as long as a worker waits at its end."""
        connection = await asyncpg.connect(site.dsn, timeout=30, command_timeout=30)
        try:
            async with connection.transaction():
                await connection.execute(HOLD)
                await asyncio.sleep(random.uniform(0.2, 2.0))
        finally:
            connection.terminate()

    async def _pause(self, site: Site, load: Load, random: Random) -> None:
        await site.execute("SELECT openqueue.pause_queue('default')")
        await asyncio.sleep(random.uniform(0.0, 0.5))
        await site.patiently("SELECT openqueue.resume_queue('default')")

    async def _terminate(self, site: Site, load: Load, random: Random) -> None:
        await site.execute(f"{END} AND application_name LIKE 'openqueue%'")


class Pruned(Attack):
    """History is pruned again and again, by who is killed in the middle of it, and the leader is killed."""

    name = "people: pruning killed in its middle"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        load.journal.pruned = True
        prune = ("runs", "prune", "--older-than", "1s")
        with site.blow(self.name):
            for number in range(4):
                await site.completes(10)
                pruning = run(ROOT, site.dsn, *prune, "--batch", "5")
                with suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(pruning.wait, random.uniform(0.5, 2.0))
                pruning.kill()
                await asyncio.to_thread(pruning.communicate)
                if number % 3 == 1:
                    leader = await leading(site)
                    leader.kill()
                    await leader.ended()
                    await replaced(site, leader)
        last = run(ROOT, site.dsn, *prune)
        said, _ = await asyncio.to_thread(last.communicate)
        assert last.returncode == 0, said
        (row,) = await site.patiently("SELECT count(*) FROM openqueue.run_requests")
        assert row["count"] < len(load.journal.asked), "nothing was pruned"


class Forgetful(PooledAlone):
    """PgBouncer sends DISCARD ALL after each transaction: nothing of a session is there in the next one."""

    name = "PgBouncer: DISCARD ALL after each transaction"
    more: ClassVar = "server_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            await site.completes(60)
        await super().run(site, load, random)


ON_PEOPLE: list[type[Attack]] = [Meddled, Pruned, Forgetful]
