"""Deploys under load: workers replaced one by one, the schema migrated, old and new code side by side."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from random import Random
from typing import ClassVar

import asyncpg

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.old_code import NO_HISTORY, commit_before_last_migration, run, unpacked
from tests.chaos.site import ADD_TICKS, Site
from tests.chaos.worker import ROOT

__all__ = ["ON_DEPLOYS"]


class Rolled(Attack):
    """Each of four workers is told to stop, and replaced when it has."""

    name = "deploy: rolling restart"
    workers = 4
    settings: ClassVar = {"grace": "30s"}

    async def run(self, site: Site, load: Load, random: Random) -> None:
        before = len(site.gone)
        for victim in [*site.workers]:
            with site.blow(self.name):
                victim.signal(signal.SIGTERM)
                site.dismiss(victim)
                code = await victim.ended()
                await site.start()
            assert code == 0, f"{victim.name} stopped with {code}"
        ids = [worker.id for worker in site.gone[before:]]
        (row,) = await site.patiently(
            "SELECT count(*) FROM openqueue.attempts WHERE worker = ANY ($1) AND started_at IS NOT NULL"
            " AND outcome IN ('lost', 'released')",
            ids,
        )
        assert row["count"] == 0, f"a rolling restart interrupted {row['count']} runs"


class Upgraded(Attack):
    """Old workers on the old schema; two migrate at once; old workers on the new schema; then new ones.

    Old is the wheel of the commit before the last migration. People enqueue by SQL, as any version can.
    """

    name = "deploy: migration under old workers"
    workers = 0
    by_sql = True

    def missing(self) -> str | None:
        return None if commit_before_last_migration() else NO_HISTORY

    async def prepare(self, site: Site) -> None:
        commit = commit_before_last_migration()
        assert commit is not None
        self.old = await asyncio.to_thread(unpacked, commit, site.directory)
        tasks = site.directory / "tasks" / "chaos.py"
        tasks.write_text(
            tasks.read_text().replace("concurrency_key=lambda key: key, ", "")
        )  # younger than it
        await site.execute("DROP SCHEMA openqueue CASCADE")
        await self._migrates(site, 1, old=True)
        with suppress(asyncpg.UndefinedFunctionError):  # older than schedules
            await site.execute(ADD_TICKS)
        await site.start(3, code=self.old)

    async def run(self, site: Site, load: Load, random: Random) -> None:
        old = [*site.workers]
        with site.blow(self.name):
            await self._migrates(site, 2)
        assert all(worker.alive for worker in old)
        await site.completes(40)
        await site.start(2)
        await site.completes(20)
        for victim in old:
            victim.signal(signal.SIGTERM)
            site.dismiss(victim)
            code = await victim.ended()
            assert code == 0, f"{victim.name} stopped with {code}"
        await site.completes(20)

    async def _migrates(self, site: Site, at_once: int, *, old: bool = False) -> None:
        started = [run(self.old if old else ROOT, site.dsn, "migrate") for _ in range(at_once)]
        for one in started:
            said, _ = await asyncio.to_thread(one.communicate)
            assert one.returncode == 0, said


ON_DEPLOYS: list[type[Attack]] = [Rolled, Upgraded]
