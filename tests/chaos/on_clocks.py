"""Workers whose clocks are hours apart, run too fast or too slow, and jump: only the database's counts."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.on_workers import ended, occupied, rescued
from tests.chaos.site import Site

__all__ = ["ON_CLOCKS"]

SOURCE = Path(__file__).with_name("skewed.c")
WRONG = 1800.0
"""Seconds by which a clock must be off, lest this be no attack."""


class Skewed(Attack):
    """Clocks an hour ahead and fast, an hour behind and slow, jumping by two hours; one worker is killed."""

    name = "worker: clocks that differ"
    workers = 0
    clocks: ClassVar = ("3600 1.5 0", "-3600 0.5 0", "3600 1 2")

    def missing(self) -> str | None:
        return None if shutil.which("cc") else "a C compiler (cc)"

    async def prepare(self, site: Site) -> None:
        library = site.directory / "skewed.so"
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lm"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        await site.execute("SELECT openqueue.pause_queue('held')")
        for clock in self.clocks:
            off = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": clock}
            (worker,) = await site.start(environment=off)
            said = datetime.fromisoformat(worker.told("worker started")[0]["timestamp"])
            assert abs(said.timestamp() - time.time()) > WRONG, f"the clock of {worker.name} is right: {said}"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        far = [await load.add("quick", deadline="30m") for _ in range(10)]
        late = [await load.add("quick", delay="3s", deadline="31m") for _ in range(10)]
        never = await load.add("quick", ends="expired", queue="held", deadline="3s")
        victim = random.choice(site.workers)
        await occupied(site, load, victim.pid)
        with site.blow(self.name, victim):
            victim.kill()
            await victim.ended()
        site.dismiss(victim)
        await rescued(site, victim.id)
        for one in (*far, *late, never):
            await ended(site, one.run)
        await site.completes(20)


ON_CLOCKS: list[type[Attack]] = [Skewed]
